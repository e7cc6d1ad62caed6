//! A small shop: an HTTP server that is measured, a database that is, and a batcher that obeys policies.
//!
//! `fastbreak serve` in one terminal, `cargo run --example shop` in another, then `curl http://127.0.0.1:8080/items/7`.
//! Without a server it runs as well.

#![expect(clippy::print_stdout, reason = "an example shows itself")]

use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use fastbreak_client::FastBreak;
use fastbreak_client::batcher::{BatchPolicy, Batcher, Failure, Outcome, Process};
use fastbreak_client::database::DatabaseMonitor;

/// An API elsewhere that takes many questions at once.
struct Prices;

impl Process for Prices {
    type Item = u32;
    type Output = u32;

    async fn process(&self, items: Vec<u32>) -> Result<Vec<Outcome<u32>>, Failure> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(items.into_iter().map(|item| Outcome::Done(item * 100 + 99)).collect())
    }
}

#[derive(Clone)]
struct Shop {
    prices: Batcher<Prices>,
    database: DatabaseMonitor,
}

async fn item(State(shop): State<Shop>, Path(id): Path<u32>) -> Result<String, String> {
    // In a real shop this is sqlx, diesel or tokio-postgres.
    let find = async { Ok::<_, std::io::Error>(format!("item {id}")) };
    let found = shop.database.query("SELECT name FROM items WHERE id = $1", find).await;
    let name = found.map_err(|error| error.to_string())?;
    let price = shop.prices.submit(id).await.map_err(|error| error.to_string())?;
    Ok(format!("{name} costs {price}\n"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let fastbreak = FastBreak::builder("shop").endpoint("http://localhost:4317").version("1.0.0").start()?;
    let prices = Batcher::new(BatchPolicy::default(), Prices)?;
    fastbreak.batcher("prices", &prices);
    let shop = Shop { prices, database: fastbreak.database("postgresql", "shop") };
    let app = Router::new()
        .route("/items/{id}", get(item))
        .route("/health", get(|| async { "ok" }))
        .layer(fastbreak.http().exclude(["/health"]))
        .with_state(shop);

    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    println!("shop on http://{}, instance {}", listener.local_addr()?, fastbreak.instance());
    axum::serve(listener, app).with_graceful_shutdown(async { _ = tokio::signal::ctrl_c().await }).await?;
    println!("all was sent: {}", fastbreak.shutdown(Duration::from_secs(5)).await);
    Ok(())
}
