//! One rate for all instances.

use std::pin::Pin;
use std::time::Duration;

use super::policy::Rate;

/// What was answered to who wants to call: none when it may, or how long it is to wait before it asks again.
pub type Leave<'a> = Pin<Box<dyn Future<Output = Result<Option<Duration>, String>> + Send + 'a>>;

/// A bucket that instances share. While it cannot be asked, each keeps to the rate by itself.
pub trait SharedRate: Send + Sync + 'static {
    /// Whether a call may be made now; if so, it is noted.
    fn take(&self, rate: Rate) -> Leave<'_>;
}

#[cfg(feature = "redis")]
mod in_redis {
    use redis::aio::ConnectionManager;
    use redis::{Client, RedisError, Script};

    use super::{Duration, Leave, Rate, SharedRate};

    /// The time at which the bucket is full again, in microseconds of Redis's own clock (GCRA): one key, one script.
    const TAKE: &str = r"
        local time = redis.call('TIME')
        local now = time[1] * 1000000 + time[2]
        local full = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
        local gap, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
        local earliest = full - gap * (burst - 1)
        if earliest > now then return math.ceil(earliest - now) end
        full = full + gap
        redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000) + 1)
        return 0";

    /// A bucket in Redis.
    #[derive(Clone)]
    pub struct RedisRate {
        connection: ConnectionManager,
        key: String,
        take: Script,
    }

    impl RedisRate {
        /// The bucket of that name; instances that give the same share it.
        ///
        /// # Errors
        /// Redis cannot be reached.
        pub async fn new(client: Client, name: &str) -> Result<Self, RedisError> {
            let connection = ConnectionManager::new(client).await?;
            Ok(Self { connection, key: format!("fastbreak:rate:{{{name}}}"), take: Script::new(TAKE) })
        }
    }

    impl SharedRate for RedisRate {
        fn take(&self, rate: Rate) -> Leave<'_> {
            let mut connection = self.connection.clone();
            Box::pin(async move {
                let mut call = self.take.key(&self.key);
                call.arg(1e6 / rate.per_second).arg(rate.burst);
                let wait: u64 = call.invoke_async(&mut connection).await.map_err(|error| error.to_string())?;
                Ok((wait > 0).then(|| Duration::from_micros(wait)))
            })
        }
    }
}

#[cfg(feature = "redis")]
pub use in_redis::RedisRate;
