//! The service of the demo that has FastBreak's own SDK: a cache of products and a batcher of prices, which obey policies.

use std::sync::Arc;
use std::time::Duration;

use fastbreak_client::FastBreak;
use fastbreak_client::batcher::{BatchPolicy, Batcher, Outcome, Process};
use fastbreak_client::cache::{Cache, CachePolicy, Failure, Source};
use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::time::Instant;

use super::weather::Weather;

/// Products of the shop; a few are asked for most of the time.
const PRODUCTS: f64 = 20_000.0;
/// Least time that a load takes.
const LOAD: Duration = Duration::from_millis(8);
/// How often a look-up finds that a cold cache has just lost everything.
const COLD: f64 = 0.3;
/// How long the last exports may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// The database of products, as slow as the weather.
struct Products(Arc<Weather>);

impl Source for Products {
    type Key = u64;
    type Value = String;

    async fn load(&self, id: &u64) -> Result<Option<String>, Failure> {
        tokio::time::sleep((LOAD + Duration::from_millis(id % 5)).mul_f64(self.0.database())).await;
        Ok(Some(format!("product {id}")))
    }

    fn tags(&self, id: &u64, _value: &String) -> Vec<String> {
        vec![format!("aisle-{}", id % 12)]
    }
}

/// An API elsewhere that takes many questions at once.
struct Prices;

impl Process for Prices {
    type Item = u64;
    type Output = u64;

    async fn process(&self, ids: Vec<u64>) -> Result<Vec<Outcome<u64>>, Failure> {
        tokio::time::sleep(Duration::from_millis(15)).await;
        Ok(ids.into_iter().map(|id| Outcome::Done(id * 100 + 99)).collect())
    }
}

pub(super) struct Stock {
    sdk: FastBreak,
    products: Cache<Products>,
    prices: Batcher<Prices>,
    weather: Arc<Weather>,
}

impl Stock {
    pub(super) async fn open(endpoint: &str, period: Duration, weather: Arc<Weather>) -> anyhow::Result<Self> {
        let sdk = FastBreak::builder("inventory")
            .endpoint(endpoint)
            .version("1.4.2")
            .label("deployment.environment.name", "demo")
            .policy_file(std::env::temp_dir().join("fastbreak-demo/inventory.policies"))
            .export_every(period)
            .start()?;
        let in_code = CachePolicy { l1_ttl: Duration::from_secs(30), sample_ratio: 1.0, ..CachePolicy::default() };
        let products = Cache::builder("products", Products(Arc::clone(&weather))).policy(in_code).build().await?;
        let prices = Batcher::new(BatchPolicy::default(), Prices)?;
        sdk.cache("products", &products);
        sdk.batcher("prices", &prices);
        Ok(Self { sdk, products, prices, weather })
    }

    /// A product and its price; true when the product was in memory.
    pub(super) async fn find(&self, chance: &mut SmallRng) -> bool {
        if self.weather.is_cold() && chance.random_bool(COLD) {
            let _dropped = self.products.invalidate_all().await;
        }
        // Some products are asked for much more than others: log-uniform.
        let id = PRODUCTS.powf(chance.random::<f64>()) as u64;
        let product = async {
            let asked = Instant::now();
            let _product = self.products.get_or_load(&id).await;
            asked.elapsed() < LOAD
        };
        tokio::join!(product, self.prices.submit(id)).0
    }

    /// Sends what waits.
    pub(super) async fn close(self) {
        let _in_time = self.sdk.shutdown(CLOSE_WITHIN).await;
    }
}
