//! Mail over real SMTP: STARTTLS and TLS, pooled, with text, HTML and a picture.

use fastbreak::model::NotificationReason::{Fired, Resolved};
use mail_parser::{MessageParser, MimeHeaders};
use serde_json::{Value, json};

use super::{deliveries, notification, options, post, queue, receiver};
use crate::support::server::Options;
use crate::support::smtp::{Smtp, Tls};
use crate::support::{Database, eventually};

fn from_environment(database: &Database, smtp: &Smtp, tls: &str) -> Options {
    options(database)
        .with("SMTP_HOST", "localhost")
        .with("SMTP_PORT", &smtp.port.to_string())
        .with("SMTP_TLS", tls)
        .with("SMTP_USER", "alerts@example.com")
        .with("SMTP_PASS", "pass word")
        .with("ALERT_EMAIL_RECIPIENTS", "a@example.com, Ops <b@example.com>")
        .with("ALERT_EMAIL_FROM", "FastBreak <alerts@example.com>")
        .with("SSL_CERT_FILE", smtp.certificate.to_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environments_mail_server_gets_text_html_and_chart_over_starttls() {
    let database = Database::create().await;
    let smtp = Smtp::start(Tls::Started).await;
    let server = from_environment(&database, &smtp, "starttls").start();
    queue(&database, &[notification("n-1", "email", "g", Fired), notification("n-2", "email", "g", Resolved)]).await;
    eventually("both arrive", async || smtp.mails().len() == 2).await;
    let mails = smtp.mails();
    assert!(mails.iter().all(|mail| mail.tls && mail.to == ["<a@example.com>", "<b@example.com>"]), "{mails:?}");
    assert!(mails[0].login.is_some());
    assert_eq!(smtp.connections(), 1, "the connection is kept");
    let parsed: Vec<_> = mails.iter().map(|mail| MessageParser::default().parse(&mail.data).unwrap()).collect();
    let mail = &parsed[0];
    assert_eq!(mail.message_id(), Some("n-1@example.com"));
    assert_eq!(mail.subject(), Some("[FIRING 1] critical: High <response> & \"time\" (service.name=checkout)"));
    assert!(
        mail.body_text(0).unwrap().contains("value: 812 ms (threshold 500 ms)")
            || mail.body_text(0).unwrap().contains("value: 813 ms")
    );
    let html = mail.body_html(0).unwrap();
    assert!(html.contains("src=\"cid:chart\"") && html.contains("&lt;b&gt;") && !html.contains("<b>"), "{html}");
    assert!(html.contains("href=\"https://runbooks.example.com") && !html.contains("href=\"javascript"), "{html}");
    let picture = mail.attachments().next().unwrap();
    assert_eq!(picture.content_id(), Some("chart"));
    assert!(picture.contents().starts_with(b"\x89PNG\r\n"));
    assert!(parsed[1].subject().unwrap().starts_with("[RESOLVED]"));
    assert!(parsed[1].body_text(0).unwrap().contains("after 12m 12s: recovered"));
    assert_eq!(parsed[0].references().as_text(), parsed[1].references().as_text(), "one thread");
    let shown = server.get("/api/receivers/email").await;
    assert_eq!((&shown["origin"], &shown["secrets"]["password"]["set"]), (&json!("environment"), &json!(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_from_the_start_works_and_a_strange_certificate_does_not() {
    let database = Database::create().await;
    let (smtp, other) = (Smtp::start(Tls::Implicit).await, Smtp::start(Tls::Implicit).await);
    let server = from_environment(&database, &smtp, "tls").start();
    assert_eq!(post(&server, "/api/receivers/email/test").await["outcome"], "sent");
    assert!(smtp.mails()[0].tls);
    let settings = json!({
        "host": "localhost", "port": other.port, "tls": "tls", "from": "a@example.com", "recipients": ["b@example.com"],
    });
    receiver(&server, "strange", "email", settings, json!({})).await;
    let told = post(&server, "/api/receivers/strange/test").await;
    assert_eq!(told["outcome"], "retry");
    assert!(told["detail"].as_str().unwrap().contains("certificate"), "{told}");
    assert!(other.mails().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_goes_over_a_line_that_is_not_sealed() {
    let database = Database::create().await;
    let smtp = Smtp::start(Tls::Never).await;
    let server = from_environment(&database, &smtp, "starttls").start();
    let told = post(&server, "/api/receivers/email/test").await;
    assert_eq!(told["outcome"], "retry", "{told}");
    assert!(smtp.mails().is_empty());
    // Plain to this machine, when nothing else is said.
    let server = from_environment(&Database::create().await, &smtp, "auto").start();
    assert_eq!(post(&server, "/api/receivers/email/test").await["outcome"], "sent");
    assert!(!smtp.mails()[0].tls);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_recipient_does_not_keep_the_mail_from_the_others() {
    let database = Database::create().await;
    let smtp = Smtp::start(Tls::Started).await;
    smtp.refuse("a@example.com", "550 no such person");
    let server = from_environment(&database, &smtp, "starttls").start();
    queue(&database, &[notification("n-1", "email", "g-1", Fired)]).await;
    let state = async || deliveries(&server, "email").await.first().map_or(Value::Null, |first| first["state"].clone());
    eventually("it is sent", async || state().await == "sent").await;
    assert_eq!(smtp.mails()[0].to, ["<b@example.com>"]);
    let log = deliveries(&server, "email").await[0]["log"][0].clone();
    assert!(log["detail"].as_str().unwrap().contains("a@example.com"), "{log}");
    smtp.refuse("@example.com", "451 come back later");
    queue(&database, &[notification("n-2", "email", "g-2", Fired)]).await;
    let retry = "SELECT count(*) FROM delivery_attempts WHERE outcome = 'retry' AND status = 451";
    eventually("it is to be tried again", async || database.number(retry).await >= 1).await;
    smtp.refuse("@example.com", "553 never");
    super::hurry(&database).await;
    eventually("it is dead", async || state().await == "dead").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_away_gets_the_mail_later_and_the_others_get_it_once() {
    let database = Database::create().await;
    let smtp = Smtp::start(Tls::Started).await;
    smtp.refuse("a@example.com", "451 come back later");
    let server = from_environment(&database, &smtp, "starttls").start();
    queue(&database, &[notification("n-1", "email", "g-1", Fired)]).await;
    let delivery = async || deliveries(&server, "email").await[0].clone();
    eventually("it is to be tried again", async || delivery().await["log"][0]["outcome"] == "retry").await;
    let detail = delivery().await["log"][0]["detail"].as_str().unwrap().to_owned();
    assert!(detail.starts_with("a@example.com") && !detail.contains("b@example.com"), "{detail}");
    let to = || smtp.mails().into_iter().flat_map(|mail| mail.to).collect::<Vec<_>>();
    assert_eq!(to(), ["<b@example.com>"]);
    smtp.refuse("nobody", "550 no such person");
    super::hurry(&database).await;
    eventually("it is sent", async || delivery().await["state"] == "sent").await;
    assert_eq!(to(), ["<b@example.com>", "<a@example.com>"]);
}
