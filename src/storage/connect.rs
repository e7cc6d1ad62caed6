//! Connections: TLS as the URL asks, session settings that the promises need, the pool, the migration harness.

use std::time::Duration;

use diesel::ConnectionError;
use diesel_async::pooled_connection::bb8::Pool;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::{AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use futures::FutureExt;

use super::{Config, Storage, StorageError};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!();

/// Acknowledged means on disk, whatever the server's default; no statement of ours may hang for ever. None is long enough to
/// be worth compiling, which would take longer than it: a plan that is told to avoid something counts as a dear one.
const SESSION: &str = "SET synchronous_commit = on; SET jit = off; SET statement_timeout = '30s'; SET lock_timeout = '10s'; \
     SET idle_in_transaction_session_timeout = '60s'; SET application_name = 'fastbreak'";

/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the other side may leave what we sent unacknowledged, and how long silence lasts before it is asked.
const SILENCE_MAX: Duration = Duration::from_secs(10);

pub(super) async fn pool(config: &Config) -> Result<Pool<AsyncPgConnection>, StorageError> {
    // The pool tells only that it waited in vain; the first connection tells why.
    establish(config.url.clone()).await.map_err(|error| StorageError::Unavailable(Box::new(error)))?;
    let mut manager = ManagerConfig::default();
    manager.custom_setup = Box::new(|url| establish(url.to_owned()).boxed());
    // A broken connection shows itself on use; a query before each use would double every round trip.
    manager.recycling_method = RecyclingMethod::Fast;
    let manager = AsyncDieselConnectionManager::new_with_config(&config.url, manager);
    Pool::builder()
        .max_size(config.connections)
        .connection_timeout(config.connect_timeout)
        .build(manager)
        .await
        .map_err(|error| StorageError::Unavailable(Box::new(error)))
}

async fn establish(url: String) -> Result<AsyncPgConnection, ConnectionError> {
    let bad = |error: &dyn std::fmt::Display| ConnectionError::BadConnection(error.to_string());
    let (url, tls) = tls_mode(&url);
    let mut settings: tokio_postgres::Config = url.parse().map_err(|error| bad(&error))?;
    // A server that is cut off must be noticed, not waited for.
    settings.connect_timeout(CONNECT_TIMEOUT).tcp_user_timeout(SILENCE_MAX).keepalives_idle(SILENCE_MAX);
    let mut conn = if tls {
        let connector = tokio_postgres_rustls::MakeRustlsConnect::new(tls_config());
        let (client, connection) = settings.connect(connector).await.map_err(|error| bad(&error))?;
        AsyncPgConnection::try_from_client_and_connection(client, connection).await?
    } else {
        let (client, connection) = settings.connect(tokio_postgres::NoTls).await.map_err(|error| bad(&error))?;
        AsyncPgConnection::try_from_client_and_connection(client, connection).await?
    };
    conn.batch_execute(SESSION).await.map_err(|error| bad(&error))?;
    Ok(conn)
}

/// tokio-postgres knows no `verify-full`: with us every TLS connection is verified, so it is `require` to it.
fn tls_mode(url: &str) -> (String, bool) {
    let mut url = url.to_owned();
    for mode in ["verify-full", "verify-ca"] {
        url = url.replace(&format!("sslmode={mode}"), "sslmode=require");
    }
    let tls = url.contains("sslmode=require");
    (url, tls)
}

fn tls_config() -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()
}

pub(super) async fn migrate(config: &Config) -> Result<Vec<String>, StorageError> {
    let mut conn = establish(config.url.clone()).await.map_err(|error| StorageError::Unavailable(Box::new(error)))?;
    // Several replicas may start at once: one migrates, the others wait and find nothing to do.
    conn.batch_execute("SET lock_timeout = '120s'; SET statement_timeout = '120s'; SELECT pg_advisory_lock(7216)")
        .await?;
    let mut harness = AsyncMigrationHarness::new(conn);
    let applied = harness.run_pending_migrations(MIGRATIONS).map_err(StorageError::Migration)?;
    Ok(applied.iter().map(ToString::to_string).collect())
}

#[derive(diesel::QueryableByName)]
struct Setting {
    #[diesel(sql_type = diesel::sql_types::Text)]
    value: String,
}

impl Storage {
    /// Refuses a server that would call a write committed before it is on disk.
    pub(super) async fn check_settings(&self) -> Result<(), StorageError> {
        let mut conn = self.conn().await?;
        let fsync: Setting =
            diesel::sql_query("SELECT current_setting('fsync') AS value").get_result(&mut conn).await?;
        if fsync.value != "on" {
            return Err(StorageError::Setting(
                "Postgres runs with fsync = off: acknowledged data would not be safe".to_owned(),
            ));
        }
        Ok(())
    }

    /// One round trip, for probes.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn ping(&self) -> Result<(), StorageError> {
        let mut conn = self.conn().await?;
        diesel::sql_query("SELECT 1").execute(&mut conn).await?;
        Ok(())
    }

    /// The server's version, as it says it.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn server_version(&self) -> Result<String, StorageError> {
        let mut conn = self.conn().await?;
        let version: Setting =
            diesel::sql_query("SELECT current_setting('server_version') AS value").get_result(&mut conn).await?;
        Ok(version.value)
    }
}

#[cfg(test)]
mod tests {
    use super::tls_mode;

    #[test]
    fn stricter_modes_than_the_driver_knows_are_served_by_verified_tls() {
        assert_eq!(tls_mode("postgres://h/d?sslmode=verify-full"), ("postgres://h/d?sslmode=require".to_owned(), true));
        assert_eq!(tls_mode("postgres://h/d"), ("postgres://h/d".to_owned(), false));
    }
}
