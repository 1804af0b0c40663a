//! What is wrong with a request as a whole: its body, its method, its path.

use crate::calls::scene;
use crate::described;
use bulut_testkit::TestCloud;
use bulut_testkit::http::{Answer, send};
use std::collections::BTreeSet;

/// Paths of the description with an id in the place of holes.
fn filled(path: &str) -> String {
    path.replace("{id}", "1")
}

#[tokio::test]
async fn broken_bodies_are_refused_by_every_call_that_has_one() {
    let cloud = TestCloud::new().await;
    let scene = scene(&cloud).await;
    let before = cloud.state().await;
    let bearer = format!("Bearer {}", scene.alice.token);
    let deep = "[".repeat(100_000);
    let broken: [(&str, &[u8], &str); 9] = [
        ("application/json", b"{\"name\":", "JSON"),
        ("application/json", b"{'name':'a'}", "JSON"),
        ("application/json; charset=utf-8", b"name=web1", "JSON"),
        ("application/json", b"[1,2]", "JSON"),
        ("application/json", b"\"name\"", "JSON"),
        ("application/json", b"{\"name\":\"\xff\"}", "JSON"),
        ("application/json", deep.as_bytes(), "JSON"),
        ("", b"{\"name\":", "JSON"),
        (
            "multipart/form-data; boundary=XoX",
            b"--XoX\r\nContent-Disposition: form-data; name=\"id\"\r\n\r\n1",
            "multipart",
        ),
    ];
    for (path, methods) in described(&cloud).await {
        for method in methods.into_keys().filter(|method| method != "GET") {
            for (content_type, body, word) in &broken {
                let headers = [("authorization", bearer.as_str()), ("content-type", *content_type)];
                let answer = send(cloud.router(), &method, &filled(&path), &headers, body.to_vec()).await;
                let sentence = answer.refusal(400);
                assert!(sentence.contains(word), "{method} {path}: {sentence}");
                assert!(sentence.contains("body"), "{method} {path}: {sentence}");
            }
        }
    }
    let damaged = "name=%ff&region=ist2&package=eos1&image=tiny";
    assert!(scene.alice.send("POST", "/v1/server/create", damaged).await.refusal(400).contains("name"));
    scene.alice.send("GET", "/v1/server/%ff", "").await.refusal(400);
    assert_eq!(before, cloud.state().await);
}

#[tokio::test]
async fn a_body_beyond_a_mebibyte_is_refused_and_changes_nothing() {
    let cloud = TestCloud::new().await;
    let scene = scene(&cloud).await;
    let before = cloud.state().await;
    let padding = "x".repeat(1024 * 1024);
    let body = format!("name=a&region=ist2&package=eos1&image=tiny&id={}&padding={padding}", scene.server);
    for (path, methods) in described(&cloud).await {
        for method in methods.into_keys().filter(|method| method != "GET") {
            let answer = scene.alice.send(&method, &filled(&path), &body).await;
            assert!(answer.refusal(413).contains("1048576"), "{method} {path}: {}", answer.text);
            assert_eq!(answer.word(), "too_large");
        }
    }
    assert_eq!(before, cloud.state().await);
    // On a GET only query and path count.
    scene.alice.send("GET", "/v1/server/list", &body).await.data();
}

#[tokio::test]
async fn a_wrong_method_is_refused_with_the_right_ones_and_options_tells_them() {
    let cloud = TestCloud::new().await;
    let scene = scene(&cloud).await;
    let before = cloud.state().await;
    for (path, methods) in described(&cloud).await {
        let mut allowed: BTreeSet<&str> = methods.keys().map(String::as_str).collect();
        if allowed.contains("GET") {
            allowed.insert("HEAD");
        }
        allowed.insert("OPTIONS");
        let allow = |answer: &Answer| {
            let allow = answer.headers["allow"].to_str().unwrap().to_owned();
            assert_eq!(allow.split(',').map(str::trim).collect::<BTreeSet<_>>(), allowed, "{path}");
        };
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW"] {
            if !allowed.contains(method) {
                let answer = scene.alice.send(method, &filled(&path), &format!("id={}", scene.server)).await;
                answer.refusal(405);
                assert_eq!(answer.word(), "method_not_allowed");
                allow(&answer);
            }
        }
        let answer = cloud.send("OPTIONS", &filled(&path), &[], "").await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (204, ""), "{path}");
        allow(&answer);
    }
    assert_eq!(before, cloud.state().await);
}

#[tokio::test]
async fn an_unknown_path_is_refused_in_the_envelope() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    for path in [
        "/v1",
        "/v1/",
        "/v1/nothing",
        "/v1/server",
        "/v1/server/1/explode",
        "/v1/server/1/start/now",
        "/v1/region/list.php",
        "/v1/event",
        "/index.php",
        "/v1/%73erver",
        "/..%2f..%2fetc/passwd",
        "/v1/server/../region/list",
    ] {
        for method in ["GET", "POST", "DELETE", "OPTIONS"] {
            let answer = alice.send(method, path, "id=1").await;
            assert!(answer.refusal(404).contains("path"), "{method} {path}: {}", answer.text);
            assert_eq!(answer.word(), "not_found");
        }
    }
}

#[tokio::test]
async fn head_is_get_without_a_body_and_slashes_do_not_matter() {
    let cloud = TestCloud::new().await;
    let scene = scene(&cloud).await;
    for (path, methods) in described(&cloud).await {
        if !methods.contains_key("GET") {
            continue;
        }
        let id = if path.contains("/event/") { scene.event } else { scene.server };
        let in_query = methods["GET"].contains("id") && !path.contains("{id}");
        let query = if in_query { format!("?id={id}") } else { String::new() };
        let path = path.replace("{id}", &id.to_string());
        let get = scene.alice.send("GET", &format!("{path}{query}"), "").await;
        get.data();
        let head = scene.alice.send("HEAD", &format!("{path}{query}"), "").await;
        assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""), "{path}");
        assert_eq!(head.headers["content-length"], get.text.len().to_string().as_str(), "{path}");
        assert_eq!(head.headers["content-type"], "application/json", "{path}");
        for untidy in [format!("{path}/"), path.replace('/', "//"), format!("/{path}///")] {
            let query = format!("?unknown=//&{}", query.trim_start_matches('?'));
            let untidy = format!("{untidy}{query}");
            assert_eq!(scene.alice.send("GET", &untidy, "").await.text, get.text, "{untidy}");
        }
    }
    let anonymous = cloud.send("HEAD", "/v1/server/list", &[], "").await;
    assert_eq!((anonymous.status.as_u16(), anonymous.text.as_str()), (401, ""));
    let untidy = format!("//v1/server//{}/stop//", scene.server);
    assert!(scene.alice.send("POST", &untidy, "").await.data()["event_id"].is_i64());
    cloud.run_until_idle().await;
}
