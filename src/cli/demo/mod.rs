//! `fastbreak demo`: a small shop of several services that sends real OTLP through the public port.
//!
//! Nothing is made up after the fact: requests run as tasks, wait for pooled connections, and are measured by the
//! OpenTelemetry SDK as any service would.

mod service;
mod shop;
mod stock;
mod weather;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{complain, print};
use shop::Shop;
use weather::Weather;

/// Most requests in flight; more are turned away, as a real shop would.
const IN_FLIGHT_MAX: usize = 2_000;
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// Arguments of `fastbreak demo`.
#[derive(Args, Debug)]
pub(super) struct DemoArgs {
    /// OTLP/gRPC address to send to
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", default_value = "http://127.0.0.1:4317")]
    endpoint: String,
    /// Visitors' requests a second
    #[arg(long, default_value_t = 20.0, value_parser = rate)]
    rate: f64,
    /// Stop after so long, such as 10m; runs until stopped by default
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Time from the start of one incident to the next
    #[arg(long, default_value = "4m", value_parser = humantime::parse_duration)]
    incident_every: Duration,
    /// How often services send their metrics
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    period: Duration,
    /// Seed of all chance
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.1..=10_000.0).contains(&rate) { Ok(rate) } else { Err("must be from 0.1 to 10000".to_owned()) }
}

pub(super) async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    reachable(&args.endpoint).await?;
    let weather = Arc::new(Weather::default());
    let shop = Arc::new(Shop::open(&args.endpoint, args.period, Arc::clone(&weather)).await?);
    let bar = ProgressBar::new_spinner().with_style(ProgressStyle::with_template("{spinner} {msg}")?);
    if bar.is_hidden() {
        complain(&format!("fastbreak demo: {} requests/s to {}", args.rate, args.endpoint));
    }
    let requests = open_doors(&args, &shop, &weather, &bar).await;
    bar.finish_and_clear();
    let shop = Arc::into_inner(shop).context("a visitor is still in the shop")?;
    let (done, failed, error) = shop.close().await;
    print(&format!("{requests} requests, {done} exports acknowledged, {failed} failed\n"));
    if let Some(error) = error {
        complain(&format!("fastbreak demo: the last failure: {error}"));
    }
    Ok(if done == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn reachable(endpoint: &str) -> anyhow::Result<()> {
    let uri: http::Uri = endpoint.parse().with_context(|| format!("{endpoint:?} is not an address"))?;
    let host = uri.host().with_context(|| format!("{endpoint:?} names no host"))?;
    tokio::net::TcpStream::connect((host.trim_matches(['[', ']']), uri.port_u16().unwrap_or(4317)))
        .await
        .with_context(|| format!("nothing listens at {endpoint}; `fastbreak serve` starts a server"))?;
    Ok(())
}

/// Lets visitors in until the time is over or we are interrupted; returns how many came.
async fn open_doors(args: &DemoArgs, shop: &Arc<Shop>, weather: &Arc<Weather>, bar: &ProgressBar) -> u64 {
    let mut chance = SmallRng::seed_from_u64(args.seed);
    let opened = Instant::now();
    let closes = opened + args.duration.unwrap_or(Duration::from_secs(10 * 365 * 24 * 3600));
    let (mut visitors, mut in_shop) = (0u64, JoinSet::new());
    let mut next = opened;
    let mut tell = tokio::time::interval(TELL_EVERY);
    let stop = tokio::signal::ctrl_c();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(next) => {
                next += weather::waiting(&mut chance, Duration::from_secs_f64(1.0 / args.rate));
                if in_shop.len() < IN_FLIGHT_MAX {
                    visitors += 1;
                    let (shop, own) = (Arc::clone(shop), SmallRng::seed_from_u64(chance.random()));
                    in_shop.spawn(async move { shop.visit(own).await });
                }
            }
            Some(_) = in_shop.join_next(), if !in_shop.is_empty() => {}
            _ = tell.tick() => {
                if let Some(news) = weather.turn(opened.elapsed(), args.incident_every, &mut chance) {
                    if bar.is_hidden() { complain(&format!("fastbreak demo: {news}")) } else { bar.println(news) }
                }
                bar.set_message(status(shop, weather, visitors, in_shop.len()));
                bar.tick();
            }
            () = tokio::time::sleep_until(closes) => break,
            _ = &mut stop => break,
        }
    }
    while in_shop.join_next().await.is_some() {}
    visitors
}

fn status(shop: &Shop, weather: &Weather, visitors: u64, in_flight: usize) -> String {
    let (done, failed, _) = shop.exports();
    let errors = shop.errors.load(Ordering::Relaxed);
    format!(
        "{visitors} requests, {in_flight} in flight, {errors} failed · {done} exports acknowledged, {failed} failed · {}",
        weather.now().describe()
    )
}
