//! The demo's shop: five services and the ways of a request through them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use opentelemetry::Context;
use rand::RngExt;
use rand::rngs::SmallRng;

use super::service::Service;
use super::stock::Stock;
use super::weather::Weather;

const MS: Duration = Duration::from_millis(1);
/// How long what waits may take to be sent at the end.
const LAST_WITHIN: Duration = Duration::from_secs(5);

pub(super) struct Shop {
    storefront: Service,
    catalog: Service,
    checkout: Service,
    recommender: Service,
    stock: Stock,
    weather: Arc<Weather>,
    /// Requests answered with 5xx.
    pub(super) errors: AtomicU64,
}

impl Shop {
    pub(super) async fn open(endpoint: &str, period: Duration, weather: Arc<Weather>) -> anyhow::Result<Self> {
        let start = |name| Service::start(name, endpoint, period, Arc::clone(&weather));
        Ok(Self {
            storefront: start("storefront")?,
            catalog: start("catalog")?,
            checkout: start("checkout")?,
            recommender: start("recommender")?,
            stock: Stock::open(endpoint, period, Arc::clone(&weather)).await?,
            weather,
            errors: AtomicU64::new(0),
        })
    }

    /// One request of a visitor.
    pub(super) async fn visit(&self, mut chance: SmallRng) {
        let (root, chance) = (Context::new(), &mut chance);
        let code = match chance.random_range(0..100) {
            0..40 => self.storefront.serve(&root, ("GET", "/"), async |cx| self.products(cx, chance).await).await,
            40..75 => {
                let work = async |cx: &Context| self.products(cx, chance).await;
                self.storefront.serve(&root, ("GET", "/products/{id}"), work).await
            }
            75..85 => self.storefront.serve(&root, ("GET", "/search"), async |cx| self.search(cx, chance).await).await,
            85..95 => {
                let work = async |cx: &Context| {
                    self.storefront.query(cx, chance, ("UPDATE", "carts"), 6 * MS).await;
                    200
                };
                self.storefront.serve(&root, ("POST", "/cart"), work).await
            }
            _ => self.storefront.serve(&root, ("POST", "/checkout"), async |cx| self.order(cx, chance).await).await,
        };
        if code >= 500 {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// From the stock's cache, or from the catalog.
    async fn products(&self, cx: &Context, chance: &mut SmallRng) -> u16 {
        if self.stock.find(chance).await {
            return 200;
        }
        let catalog = async |remote: &Context| {
            let work = async |cx: &Context| {
                self.catalog.query(cx, chance, ("SELECT", "products"), 8 * MS).await;
                self.catalog.query(cx, chance, ("SELECT", "prices"), 3 * MS).await;
                200
            };
            self.catalog.serve(remote, ("GET", "/items"), work).await
        };
        self.storefront.call(cx, "GET", catalog).await
    }

    async fn search(&self, cx: &Context, chance: &mut SmallRng) -> u16 {
        let found = async |remote: &Context| {
            let work = async |cx: &Context| {
                self.catalog.query(cx, chance, ("SELECT", "products"), 35 * MS).await;
                200
            };
            self.catalog.serve(remote, ("GET", "/search"), work).await
        };
        self.storefront.call(cx, "GET", found).await;
        let ranked = async |remote: &Context| {
            let work = async |cx: &Context| {
                self.recommender.infer(cx, chance).await;
                200
            };
            self.recommender.serve(remote, ("POST", "/rank"), work).await
        };
        self.storefront.call(cx, "POST", ranked).await
    }

    async fn order(&self, cx: &Context, chance: &mut SmallRng) -> u16 {
        let ordered = async |remote: &Context| {
            let work = async |cx: &Context| {
                self.checkout.query(cx, chance, ("SELECT", "carts"), 5 * MS).await;
                if chance.random_bool(self.weather.failures()) {
                    return 503;
                }
                self.checkout.query(cx, chance, ("INSERT", "orders"), 12 * MS).await;
                201
            };
            self.checkout.serve(remote, ("POST", "/orders"), work).await
        };
        self.storefront.call(cx, "POST", ordered).await
    }

    fn services(&self) -> [&Service; 4] {
        [&self.storefront, &self.catalog, &self.checkout, &self.recommender]
    }

    /// `(acknowledged, failed, last error)` of the services' exports.
    pub(super) fn exports(&self) -> (u64, u64, Option<String>) {
        exports_of(self.services().into_iter())
    }

    /// Sends what waits; how exports went, as [`Shop::exports`] tells it.
    pub(super) async fn close(self) -> (u64, u64, Option<String>) {
        let Self { storefront, catalog, checkout, recommender, stock, .. } = self;
        stock.close().await;
        let services = [storefront, catalog, checkout, recommender];
        join_all(services.iter().map(|service| service.pipeline.shutdown(LAST_WITHIN))).await;
        exports_of(services.iter())
    }
}

fn exports_of<'a>(services: impl Iterator<Item = &'a Service>) -> (u64, u64, Option<String>) {
    let (mut done, mut failed, mut error) = (0, 0, None);
    for service in services {
        let exports = service.pipeline.exports();
        done += exports.done.get();
        failed += exports.failed.get();
        error = exports.error().or(error);
    }
    (done, failed, error)
}
