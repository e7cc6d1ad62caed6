//! Policies through the JSON API: revisions, differences, dry runs, who did it and why.

use serde_json::{Value, json};

use crate::alerting::call;
use crate::support::Database;
use crate::support::server::{Options, fastbreak};

fn policy(ttl: &str) -> Value {
    json!({ "id": "products", "name": "Products", "selector": { "service": "shop*" }, "cache": { "l1Ttl": ttl } })
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_have_revisions_with_author_and_reason_and_come_back() {
    let server = Options::on(&Database::create().await).start();
    let path = "/api/policies/products";
    let (status, tried) = call(&server, "POST", "/api/policies?dryRun=true", &policy("1m")).await;
    assert_eq!((status, &tried["enabled"]), (200, &json!(true)));
    assert_eq!(call(&server, "GET", path, &Value::Null).await.0, 404, "only tried");
    let create = "/api/policies?author=ada&reason=first";
    for _ in 0..2 {
        let (status, made) = call(&server, "POST", create, &policy("1m")).await;
        assert_eq!((status, &made["revision"], &made["author"]), (201, &json!(1), &json!("ada")));
    }
    assert_eq!(call(&server, "POST", create, &policy("2m")).await.0, 409, "another with its id");
    let update = format!("{path}?author=bob&reason=longer&revision=1");
    let (status, changed) = call(&server, "PUT", &update, &policy("2m")).await;
    assert_eq!((status, &changed["revision"], &changed["reason"]), (200, &json!(2), &json!("longer")));
    let (status, stale) = call(&server, "PUT", &update, &policy("3m")).await;
    assert_eq!((status, &stale["code"]), (409, &json!("conflict")));
    let told = json!([{ "field": "cache.l1Ttl", "before": "1m", "after": "2m" }]);
    let (_, differs) = call(&server, "POST", &format!("{path}/diff"), &json!({ "fromRevision": 1 })).await;
    assert_eq!(differs, told);
    let revisions = server.get(&format!("{path}/revisions")).await;
    assert_eq!((&revisions[0]["changes"], &revisions[0]["author"]), (&told, &json!("bob")));
    let deleted = format!("{path}?author=eve&reason=unused&revision=2");
    assert_eq!(call(&server, "DELETE", &deleted, &Value::Null).await.0, 204);
    let revert = format!("{path}/revert?author=ada&reason=back");
    let (status, back) = call(&server, "POST", &revert, &json!({ "revision": 1 })).await;
    assert_eq!((status, &back["revision"], &back["cache"]["l1Ttl"]), (200, &json!(4), &json!("1m")));
    let revisions = server.get(&format!("{path}/revisions")).await;
    assert_eq!((&revisions[1]["deleted"], &revisions[1]["author"]), (&json!(true), &json!("eve")));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_in_a_policy_is_named_with_its_limit() {
    let server = Options::on(&Database::create().await).start();
    let check = async |more: Value, field: &str| {
        let mut wrong = policy("1m");
        wrong.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, answer) = call(&server, "POST", "/api/policies?dryRun=true", &wrong).await;
        assert_eq!((status, answer["field"].as_str()), (400, Some(field)), "{answer}");
    };
    check(json!({ "id": "no spaces" }), "id").await;
    check(json!({ "batch": {} }), "cache").await;
    check(json!({ "cache": { "l1Ttl": "31d" } }), "cache.l1Ttl").await;
    check(json!({ "cache": { "ttl": "1m" } }), "cache.ttl").await;
    check(json!({ "cache": { "coherenceLease": "2m" } }), "cache.coherenceLease").await;
    check(json!({ "bounds": { "maxLease": "1s" } }), "bounds.maxLease").await;
    check(json!({ "cache": { "retry": { "attempts": 0 } } }), "cache.retry.attempts").await;
    let long = "a".repeat(5_000);
    for (query, field) in [(format!("author={long}"), "author"), (format!("reason={long}"), "reason")] {
        let (status, answer) = call(&server, "POST", &format!("/api/policies?{query}"), &policy("1m")).await;
        assert_eq!((status, answer["field"].as_str()), (400, Some(field)), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_are_set_and_compared_on_the_command_line() {
    let server = Options::on(&Database::create().await).start();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("products.yaml");
    let run = |arguments: &[&str]| {
        let output =
            fastbreak(&[&["policies"], arguments].concat()).env("FASTBREAK_URL", &server.http).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let file = path.to_str().unwrap();
    let write =
        |ttl: &str| std::fs::write(&path, format!("id: products\nname: Products\ncache:\n  l1Ttl: {ttl}\n")).unwrap();
    write("1m");
    let (code, out, error) = run(&["set", "-f", file, "--author", "ada", "--reason", "a first try"]);
    assert!(code == 0 && out.contains("l1Ttl: 1m"), "{out}{error}");
    assert_eq!(run(&["diff", "-f", file]).0, 0, "nothing differs");
    write("2m");
    let (code, out, error) = run(&["diff", "-f", file]);
    assert_eq!((code, out.as_str()), (3, "cache.l1Ttl: \"1m\" -> \"2m\"\n"), "{error}");
    assert_eq!(run(&["set", "-f", file, "--author", "bob"]).0, 0);
    let (_, out, _) = run(&["revisions", "products"]);
    assert!(out.contains("a first try") && out.contains("bob"), "{out}");
    assert_eq!(run(&["revert", "products", "1"]).0, 0);
    assert!(run(&["get", "products"]).1.contains("l1Ttl: 1m"));
    assert_eq!(run(&["delete", "products"]).1, "products deleted\n");
    assert_eq!(run(&["get", "products"]).0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rollouts_overrides_and_invalidations_are_made_on_the_command_line() {
    let server = Options::on(&Database::create().await).start();
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &str| {
        let words: Vec<&str> = ["policies"].into_iter().chain(arguments.split_whitespace()).collect();
        let output = fastbreak(&words).current_dir(&directory).env("FASTBREAK_URL", &server.http).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("one.yaml", "id: products\nname: Products\ncache:\n  l1Ttl: 1m\n");
    write("two.yaml", "id: products\nname: Products\ncache:\n  l1Ttl: 2m\n");
    write("guards.yaml", "- name: hits\n  query: sum(rate(hits_total{$group}[1m]))\n  minRatio: 0.9\n");
    assert_eq!(run("set -f one.yaml").0, 0);
    let (code, out, error) = run("rollout start -f two.yaml --stage 10:5m --stage 100 --guards guards.yaml --dry-run");
    assert!(code == 0 && out.contains("10.0% for 5m") && out.contains("100.0% for 10m"), "{out}{error}");
    let (code, _, error) = run("rollout start -f two.yaml --stage lots");
    assert!(code != 0 && error.contains("PERCENT"), "{error}");
    let (code, out, error) =
        run("rollout start -f two.yaml --stage 10:5m --stage 100 --guards guards.yaml --author ada");
    assert!(code == 0 && out.contains("1 -> 2") && out.contains("running"), "{out}{error}");
    assert!(run("set -f two.yaml").2.contains("under way"), "a rollout has it");
    assert!(run("rollout pause products --reason lunch").1.contains("paused"));
    assert!(run("rollout resume products").1.contains("running"));
    assert!(run("rollback products --reason no").1.contains("rolled_back"));
    let (_, out, _) = run("rollout list products");
    assert!(out.lines().count() == 1 && out.contains("rolled_back"), "{out}");
    let id = out.split_whitespace().next().unwrap().to_owned();
    assert_eq!(run(&format!("rollout show {id} --follow")).0, 4, "it was rolled back");

    assert!(run("override put products --ttl-factor 3 --lease 1m --dry-run").1.contains("l1Ttl: 3m"));
    let (code, out, error) = run("override put products --id wide --ttl-factor 3 --serve-stale 10m --author ada");
    assert!(code == 0 && out.contains("wide") && out.contains("\"ttlFactor\":3.0"), "{out}{error}");
    assert!(run("override list").1.contains("wide"));
    assert_eq!(run("override end wide --reason enough").1, "wide ended\n");
    assert!(run("override ended products").1.contains("enough"));

    let (code, out, _) = run("invalidate --service shop --key-space products --tag shoes --wait 1");
    assert!(code == 5 && out.contains("invalidation 1: 0 acknowledged, waits for"), "{code} {out}");
    assert!(run("invalidate --service shop").2.contains("keys"), "nothing is meant");
    assert!(run("warm --service shop --key-space products 1 2").2.contains("no instance"));
    assert_eq!(run("fleet").1, "", "nobody watches");
}
