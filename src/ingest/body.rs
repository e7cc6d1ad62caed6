//! Bodies: admitted by bytes before they are buffered, read within a deadline, inflated within the size limit.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::json::JsonError;
use super::refusal::{Refusal, RefusalKind};

/// What one permit of the budget stands for.
const PERMIT_BYTES: usize = 1024;

/// Deflate cannot do better: a trailer that tells more is damaged.
const INFLATION_MAX: usize = 1032;

/// Room made for a body in pieces, for each byte that has come.
const ROOM_PER_BYTE: usize = 2;

/// How much of a zstd body is inflated at once.
const INFLATE_PIECE: usize = 64 << 10;

/// A JSON array of `1,` becomes nine bytes an element.
const WIRE_PER_JSON_MAX: usize = 5;

/// How many times the size limit is read and thrown away after a refusal.
const LINGER_FACTOR: usize = 4;

/// Limits of admission.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest body, before and after inflating.
    pub receive_bytes: usize,
    /// Bytes admitted and not yet answered, over all requests.
    pub in_flight_bytes: usize,
    /// How long a body may take to arrive.
    pub body_deadline: Duration,
}

impl Default for Limits {
    /// 64 MiB (OTLP's recommendation), 128 MiB, 10 s.
    fn default() -> Self {
        Self { receive_bytes: 64 << 20, in_flight_bytes: 128 << 20, body_deadline: Duration::from_secs(10) }
    }
}

/// The byte budget that all requests share.
#[derive(Clone)]
pub(super) struct Admission {
    pub(super) limits: Limits,
    budget: Arc<Semaphore>,
}

/// Bytes read, and the part of the budget that they hold.
#[derive(Default)]
pub(super) struct Admitted {
    pub(super) bytes: Bytes,
    pub(super) permits: Vec<OwnedSemaphorePermit>,
}

impl Admission {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, budget: Arc::new(Semaphore::new(limits.in_flight_bytes / PERMIT_BYTES)) }
    }

    /// Bytes admitted now.
    pub(super) fn in_flight(&self) -> usize {
        (self.limits.in_flight_bytes / PERMIT_BYTES - self.budget.available_permits()) * PERMIT_BYTES
    }

    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let permits = bytes.div_ceil(PERMIT_BYTES).max(1) as u32;
        Arc::clone(&self.budget)
            .try_acquire_many_owned(permits)
            .map_err(|_| Refusal::unavailable(format!("{} bytes are in flight already", self.in_flight())))
    }

    /// Reads a whole body of at most `limits.receive_bytes` plus `framing`; `check` sees what is there after each piece,
    /// says how long the whole promises to be, and may refuse early.
    pub(super) async fn read<B>(
        &self,
        body: B,
        framing: usize,
        check: impl Fn(&[u8]) -> Result<usize, Refusal>,
    ) -> Result<Admitted, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let deadline = self.limits.body_deadline;
        tokio::time::timeout(deadline, self.read_pieces(body, framing, check)).await.unwrap_or_else(|_| {
            let text = format!("body did not arrive within {} s", deadline.as_secs());
            Err(Refusal::of(RefusalKind::Deadline, text))
        })
    }

    async fn read_pieces<B>(
        &self,
        body: B,
        framing: usize,
        check: impl Fn(&[u8]) -> Result<usize, Refusal>,
    ) -> Result<Admitted, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let mut body = std::pin::pin!(body);
        let (mut held, mut joined, mut promised) = (Admitted::default(), Vec::new(), 0);
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|error| Refusal::of(RefusalKind::Malformed, format!("body was cut off: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            let so_far = held.bytes.len() + joined.len() + data.len();
            if so_far > self.limits.receive_bytes + framing {
                return Err(too_large(so_far, self.limits.receive_bytes));
            }
            if so_far == data.len() {
                promised = check(&data)?;
                // A whole body in one piece is passed on as it is.
                if promised == so_far {
                    held.permits.push(self.take(so_far)?);
                    held.bytes = data;
                    continue;
                }
            }
            // A part is copied at once: it is a slice of what the connection has read, and would hold all of that.
            if let Some(room) = self.more_room(joined.capacity(), so_far, promised) {
                held.permits.push(self.take(room - joined.capacity())?);
                joined.reserve_exact(room - joined.len());
            }
            joined.extend_from_slice(&std::mem::take(&mut held.bytes));
            joined.extend_from_slice(&data);
            promised = check(&joined)?;
        }
        if !joined.is_empty() {
            held.bytes = joined.into();
        }
        Ok(held)
    }

    /// How much room a body of `so_far` bytes in pieces gets, when what it has is too small. A promise is believed as far
    /// as it was kept.
    fn more_room(&self, has: usize, so_far: usize, promised: usize) -> Option<usize> {
        let most = if promised < so_far { self.limits.receive_bytes } else { promised };
        (so_far > has).then(|| so_far.saturating_mul(ROOM_PER_BYTE).max(PERMIT_BYTES).min(most).max(so_far))
    }

    /// Reads on and throws away, within bounds: a sender that is still writing when its connection closes sees a broken
    /// pipe and sends all of it again, instead of the refusal.
    pub(super) async fn linger(self, mut body: impl Body<Data = Bytes> + Unpin) {
        let mut left = self.limits.receive_bytes.saturating_mul(LINGER_FACTOR);
        let drain = async {
            while let Some(Ok(frame)) = body.frame().await {
                left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
                if left == 0 {
                    break;
                }
            }
        };
        // Late is late.
        let _late = tokio::time::timeout(self.limits.body_deadline, drain).await;
    }

    /// Makes wire bytes of JSON, holding budget for what comes out.
    pub(super) fn transcode(
        &self,
        body: Admitted,
        to_wire: impl FnOnce(&[u8], usize) -> Result<Vec<u8>, JsonError>,
    ) -> Result<Admitted, Refusal> {
        let limit = self.limits.receive_bytes;
        let most = body.bytes.len().saturating_mul(WIRE_PER_JSON_MAX).min(limit);
        let permit = self.take(most)?;
        match to_wire(&body.bytes, most) {
            Ok(wire) => Ok(Admitted { bytes: wire.into(), permits: vec![permit] }),
            Err(JsonError::TooLarge) => Err(too_large(most, limit)),
            Err(error) => Err(Refusal::of(RefusalKind::Malformed, error.to_string())),
        }
    }

    /// Inflates `body`, holding budget for what comes out.
    pub(super) fn inflate(&self, encoding: Encoding, body: Admitted) -> Result<Admitted, Refusal> {
        let limit = self.limits.receive_bytes;
        let bytes = match encoding {
            Encoding::Identity => return Ok(body),
            Encoding::Gzip => gunzip(&body.bytes, limit, &mut |bytes| self.take(bytes))?,
            Encoding::Zstd => unzstd(&body.bytes, limit, &mut |bytes| self.take(bytes))?,
        };
        Ok(Admitted { bytes: bytes.0.into(), permits: vec![bytes.1] })
    }
}

/// The answer to a body over the limit.
pub(super) fn too_large(bytes: usize, limit: usize) -> Refusal {
    Refusal::of(RefusalKind::TooLarge, format!("message of {bytes} bytes > limit of {limit} bytes"))
}

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    /// The encodings taken, as `grpc-accept-encoding` lists them.
    pub(super) const ACCEPTED: &'static str = "identity,gzip,zstd";

    pub(super) fn parse(name: &[u8]) -> Result<Self, Refusal> {
        match name {
            b"" | b"identity" => Ok(Self::Identity),
            b"gzip" => Ok(Self::Gzip),
            b"zstd" => Ok(Self::Zstd),
            other => {
                let name = String::from_utf8_lossy(other);
                Err(Refusal::of(RefusalKind::Encoding, format!("encoding {name:?} is not one of {}", Self::ACCEPTED)))
            }
        }
    }
}

type Take<'a> = &'a mut dyn FnMut(usize) -> Result<OwnedSemaphorePermit, Refusal>;

/// The trailer tells the inflated size; what it says is believed only as far as the limit.
fn gunzip(body: &[u8], limit: usize, take: Take<'_>) -> Result<(Vec<u8>, OwnedSemaphorePermit), Refusal> {
    let damaged = || Refusal::of(RefusalKind::Malformed, "gzip body is damaged");
    let told = body.last_chunk::<4>().map(|size| u32::from_le_bytes(*size) as usize).ok_or_else(damaged)?;
    if told / INFLATION_MAX > body.len() {
        return Err(damaged());
    }
    if told > limit {
        return Err(too_large(told, limit));
    }
    let permit = take(told)?;
    let mut out = vec![0; told.max(1)];
    match libdeflater::Decompressor::new().gzip_decompress(body, &mut out) {
        Ok(size) if size == told => {
            out.truncate(size);
            Ok((out, permit))
        }
        // Either the trailer lies, or more than one member follows: losing the rest in silence is no answer.
        Ok(_) | Err(libdeflater::DecompressionError::InsufficientSpace) => {
            Err(Refusal::of(RefusalKind::Malformed, "gzip trailer does not fit: more than one member, or damaged"))
        }
        Err(libdeflater::DecompressionError::BadData) => Err(damaged()),
    }
}

fn unzstd(body: &[u8], limit: usize, take: Take<'_>) -> Result<(Vec<u8>, OwnedSemaphorePermit), Refusal> {
    let damaged = |_| Refusal::of(RefusalKind::Malformed, "zstd body is damaged");
    let told = zstd::zstd_safe::get_frame_content_size(body).ok().flatten().unwrap_or(0);
    if told > limit as u64 {
        return Err(too_large(told as usize, limit));
    }
    let mut permit = take(told as usize)?;
    let mut out = Vec::with_capacity(told as usize);
    let mut decoder = zstd::Decoder::new(body).map_err(damaged)?;
    // Not every frame tells its size: budget is taken for each piece before it is inflated.
    loop {
        let mut next = [0];
        if decoder.read(&mut next).map_err(damaged)? == 0 {
            return Ok((out, permit));
        }
        let mut piece = (told as usize).saturating_sub(out.len());
        if piece == 0 {
            piece = INFLATE_PIECE;
            permit.merge(take(piece)?);
        }
        out.extend_from_slice(&next);
        (&mut decoder).take(piece as u64 - 1).read_to_end(&mut out).map_err(damaged)?;
        if out.len() > limit {
            return Err(too_large(out.len(), limit));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(limit: usize) -> Admission {
        Admission::new(Limits { receive_bytes: limit, in_flight_bytes: 1 << 20, ..Limits::default() })
    }

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut coder = libdeflater::Compressor::new(libdeflater::CompressionLvl::fastest());
        let mut out = vec![0; coder.gzip_compress_bound(data.len())];
        let size = coder.gzip_compress(data, &mut out).expect("fits");
        out.truncate(size);
        out
    }

    fn inflate(admission: &Admission, encoding: Encoding, body: Vec<u8>) -> Result<Bytes, RefusalKind> {
        let body = Admitted { bytes: body.into(), permits: Vec::new() };
        admission.inflate(encoding, body).map(|a| a.bytes).map_err(|refusal| refusal.kind)
    }

    #[test]
    fn both_encodings_inflate_and_bombs_are_too_large() {
        let data = vec![7u8; 50_000];
        let zstd = zstd::encode_all(&data[..], 1).expect("encodes");
        let wide = admission(1 << 16);
        assert_eq!(inflate(&wide, Encoding::Gzip, gzip(&data)).as_deref(), Ok(&data[..]));
        assert_eq!(inflate(&wide, Encoding::Zstd, zstd.clone()).as_deref(), Ok(&data[..]));
        let narrow = admission(1 << 14);
        assert_eq!(inflate(&narrow, Encoding::Gzip, gzip(&data)), Err(RefusalKind::TooLarge));
        assert_eq!(inflate(&narrow, Encoding::Zstd, zstd), Err(RefusalKind::TooLarge));
    }

    #[test]
    fn damage_and_second_members_are_told() {
        let admission = admission(1 << 16);
        let whole = gzip(b"hello world");
        let mut cut = whole.clone();
        cut.truncate(12);
        assert_eq!(inflate(&admission, Encoding::Gzip, cut), Err(RefusalKind::Malformed));
        let twice = [gzip(b"hello"), gzip(b"a longer member")].concat();
        assert_eq!(inflate(&admission, Encoding::Gzip, twice), Err(RefusalKind::Malformed));
        assert_eq!(inflate(&admission, Encoding::Zstd, whole), Err(RefusalKind::Malformed));
        assert!(Encoding::parse(b"snappy").is_err());
    }

    /// A body of `pieces` that then stays silent.
    fn silent_after(pieces: &'static [usize]) -> impl Body<Data = Bytes, Error = std::convert::Infallible> {
        let pieces = pieces.iter().map(|n| Ok(http_body::Frame::data(Bytes::from(vec![7; *n]))));
        let pieces = futures::StreamExt::chain(futures::stream::iter(pieces), futures::stream::pending());
        http_body_util::StreamBody::new(pieces)
    }

    #[tokio::test]
    async fn a_body_in_pieces_holds_budget_for_its_room_and_no_more() {
        let check = async |pieces, promised, held_kib: usize| {
            let admission = admission(1 << 20);
            let mut reading = std::pin::pin!(admission.read(silent_after(pieces), 0, |_| Ok(promised)));
            // Everything that is there is read before the first silence.
            assert!(futures::poll!(&mut reading).is_pending(), "{pieces:?}");
            assert_eq!(admission.in_flight(), held_kib << 10, "{pieces:?} of {promised}");
        };
        check(&[4 << 10], 4 << 10, 4).await;
        check(&[4 << 10], 512 << 10, 8).await;
        check(&[4 << 10, 4 << 10], 512 << 10, 8).await;
        check(&[4 << 10, 4 << 10, 1], 512 << 10, 17).await;
        check(&[4 << 10, 4 << 10, 1], 10 << 10, 10).await;
        // Nobody has said how long it will be.
        check(&[1; 1000], 0, 1).await;
    }

    #[tokio::test]
    async fn pieces_are_put_together_in_order() {
        for promised in [0, 7, 21, 60] {
            let pieces = ["a long ", "", "body in ", "pieces"].map(|s| http_body::Frame::data(Bytes::from(s)));
            let pieces = futures::stream::iter(pieces.map(Ok::<_, std::convert::Infallible>));
            let body = http_body_util::StreamBody::new(pieces);
            let whole = admission(1 << 20).read(body, 0, |_| Ok(promised)).await.map(|admitted| admitted.bytes);
            assert_eq!(whole.as_deref().ok(), Some(&b"a long body in pieces"[..]));
        }
    }

    #[tokio::test]
    async fn what_does_not_fit_the_budget_is_refused_with_a_retry() {
        let admission = admission(2 << 20);
        let body = http_body_util::Full::new(Bytes::from(vec![0u8; 1536 << 10]));
        let refusal = admission.read(body, 0, |_| Ok(0)).await.map(|a| a.bytes.len()).expect_err("over budget");
        assert_eq!(refusal.kind, RefusalKind::Unavailable);
        assert!(refusal.retry_after.is_some());
        assert_eq!(admission.in_flight(), 0, "the budget is given back");
    }
}
