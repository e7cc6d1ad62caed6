//! Keys as services ask for them: few of them often, most of them seldom.

/// `len` numbers below `keys`, the `n`-th likeliest with a weight of `n^-exponent`, spread so that likely ones are not
/// neighbours.
pub(crate) fn zipf(keys: usize, exponent: f64, len: usize, seed: u64) -> Vec<u64> {
    let mut sums = Vec::with_capacity(keys);
    let mut sum = 0.0;
    for n in 1..=keys {
        sum += (n as f64).powf(-exponent);
        sums.push(sum);
    }
    let mut random = fastrand::Rng::with_seed(seed);
    let draw = |_| {
        let at = random.f64() * sum;
        let rank = sums.partition_point(|sum| *sum < at).min(keys - 1) as u64;
        // A permutation of 0..keys for keys that this prime does not divide.
        rank.wrapping_mul(2_654_435_761) % keys as u64
    };
    (0..len).map(draw).collect()
}
