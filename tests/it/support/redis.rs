//! Redis servers for tests.

use std::path::PathBuf;
use std::sync::mpsc;

use fastbreak::app::PrivateRedis;

/// Starts a Redis from a thread that lives as long as this process; returns its URL.
pub(crate) fn start(data_dir: PathBuf) -> String {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let redis = runtime.block_on(PrivateRedis::start(&data_dir)).unwrap();
        tell.send(redis.url.clone()).unwrap();
        loop {
            std::thread::park();
        }
    });
    told.recv().expect("Redis starts")
}

/// Runs a command that needs no arguments; an answer may not come when it ends the server.
pub(crate) async fn command(url: &str, name: &str) {
    let mut conn = redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
    let _ended: Result<redis::Value, _> = redis::cmd(name).query_async(&mut conn).await;
}
