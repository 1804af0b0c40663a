//! Everywhere that clients put their parameters, and every way in which they encode them: all of it means the same.

use crate::client::{Client, assert_error, checked, client};
use bulut::api::cac::CALLS;
use bulut_testkit::TestCloud;
use bulut_testkit::http::Answer;

/// A request in one of the shapes that clients give it.
struct Shape {
    method: &'static str,
    query: String,
    content_type: &'static str,
    body: String,
}

/// All shapes of the same call.
fn shapes(client: &Client<'_>, more: &[(&str, &str)]) -> Vec<Shape> {
    let form = client.said(more);
    let mut json = serde_json::Map::new();
    json.insert("key".into(), client.key.clone().into());
    json.insert("login".into(), client.login.clone().into());
    json.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())));
    let json = serde_json::Value::from(json).to_string();
    let part = |name: &str, value: &str| {
        format!("--XoX\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let mut multipart = part("key", &client.key) + &part("login", &client.login);
    multipart.extend(more.iter().map(|(name, value)| part(name, value)));
    multipart += "--XoX--\r\n";
    let credentials = client.said(&[]);
    let rest = bulut_testkit::http::form(more);
    let urlencoded = "application/x-www-form-urlencoded";
    let shape = |method, query: &str, content_type, body: &str| Shape {
        method,
        query: query.to_owned(),
        content_type,
        body: body.to_owned(),
    };
    let mut shapes = vec![
        shape("GET", &form, "", ""),
        shape("GET", &form, urlencoded, ""),
        shape("GET", &form, "application/json", ""),
        shape("GET", "", urlencoded, &form),
        shape("GET", &credentials, urlencoded, &rest),
        shape("GET", &format!("?{form}&datacenter=3&op=x&method=GET"), "", ""),
    ];
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        shapes.extend([
            shape(method, &form, "", ""),
            shape(method, &form, urlencoded, ""),
            shape(method, "", urlencoded, &form),
            shape(method, "", "", &form),
            shape(method, "", "text/plain", &form),
            shape(method, "", "application/json", &form),
            shape(method, "", "application/json", &json),
            shape(method, "", "", &json),
            shape(method, "", "multipart/form-data; boundary=XoX", &multipart),
            shape(method, "", "multipart/form-data", &multipart),
            shape(method, &credentials, urlencoded, &rest),
            shape(method, &credentials, urlencoded, &form),
            shape(method, "key=&login=&sid=", urlencoded, &format!("{form}\r\n")),
            shape(method, &form, urlencoded, "key=&login=&sid=&mode=&name="),
            shape(method, "", urlencoded, &form.replace('&', "&amp;")),
            shape(method, "", urlencoded, &format!("{form}&ip_bypass=1&op=runmode")),
        ]);
    }
    shapes
}

async fn ask(cloud: &TestCloud, call: &str, shape: &Shape) -> Answer {
    let path = format!("/api/v1/{call}?{}", shape.query);
    let mut headers = vec![];
    if !shape.content_type.is_empty() {
        headers.push(("content-type", shape.content_type));
    }
    checked(cloud.send(shape.method, &path, &headers, &shape.body).await)
}

#[tokio::test]
async fn every_shape_of_a_request_does_the_same() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let client = client(&cloud, &alice).await;
    let server = alice.running_server("web1").await;
    let sid = server.to_string();
    for (number, shape) in shapes(&client, &[]).iter().enumerate() {
        let answer = ask(&cloud, "listservers.php", shape).await;
        assert_eq!(answer.status, 200, "{number} {} {}: {}", shape.method, shape.content_type, answer.text);
        assert_eq!(answer.json()["data"][0]["sid"], sid, "{number}");
    }
    let mut count = 0;
    for mode in ["safe", "normal"] {
        for shape in shapes(&client, &[("sid", &sid), ("mode", mode)]) {
            let other = if mode == "safe" { "normal" } else { "safe" };
            client.ok("runmode.php", &[("sid", &sid), ("mode", other)]).await;
            let answer = ask(&cloud, "runmode.php", &shape).await;
            assert_eq!(answer.status, 200, "{} {}: {}", shape.method, shape.content_type, answer.text);
            let shown = client.server(server).await["mode"].as_str().unwrap().to_ascii_lowercase();
            assert_eq!(shown, mode, "{} {} {}", shape.method, shape.content_type, shape.body);
            count += 1;
        }
    }
    assert!(count > 100);
}

#[tokio::test]
async fn on_a_get_the_query_wins_and_on_a_post_the_body() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let client = client(&cloud, &alice).await;
    let (one, two) = (alice.running_server("one").await, alice.running_server("two").await);
    let urlencoded = [("content-type", "application/x-www-form-urlencoded")];
    let rename = async |method: &str, name: &str| {
        let query = client.said(&[("sid", &one.to_string()), ("name", name)]);
        let body = format!("sid={two}&name={name}");
        let path = format!("/api/v1/renameserver.php?{query}");
        checked(cloud.send(method, &path, &urlencoded, &body).await).json()["serverid"].clone()
    };
    assert_eq!(rename("GET", "by-get").await, one.to_string());
    assert_eq!(rename("POST", "by-post").await, two.to_string());
    assert_eq!(client.server(one).await["label"], "by-get");
    assert_eq!(client.server(two).await["label"], "by-post");
}

#[tokio::test]
async fn slashes_and_aliases_lead_to_the_same_calls() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let client = client(&cloud, &alice).await;
    for path in ["//api/v1//listservers.php", "/api/v1/listservers.php/", "/api//v1/listservers.php?"] {
        let body = client.said(&[]);
        let answer = checked(cloud.send("POST", path, &[], &body).await);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    }
    let paths: Vec<&str> = CALLS.iter().flat_map(|call| call.paths).copied().collect();
    for alias in ["/api/v1/poweropp.php", "/api/v1/delete.php", "/api/v1/cloudpro/buildserver.php"] {
        assert!(paths.contains(&alias), "{alias}");
    }
    for call in CALLS {
        let (first, others) = call.paths.split_first().unwrap();
        let asked = async |path: &str| cloud.send("POST", path, &[], &client.said(&[])).await;
        let documented = asked(first).await;
        for alias in others {
            assert_eq!(documented.text, asked(alias).await.text, "{alias}");
        }
    }
}

#[tokio::test]
async fn head_tells_of_lists_and_changes_nothing() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let client = client(&cloud, &alice).await;
    let server = alice.running_server("web1").await;
    let before = cloud.state().await;
    for call in CALLS {
        let more = [
            ("sid", server.to_string()),
            ("action", "reset".into()),
            ("mode", "safe".into()),
            ("name", "x".into()),
        ];
        let more: Vec<(&str, &str)> = more.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let path = format!("{}?{}", call.paths[0], client.said(&more));
        let head = cloud.send("HEAD", &path, &[], "").await;
        assert_eq!(head.text, "", "{path}");
        assert_eq!(head.headers["content-type"], "text/html; charset=UTF-8");
        if call.changes {
            assert_eq!(head.status, 405, "{path}");
            assert!(head.headers["allow"].to_str().unwrap().contains("POST"));
        } else {
            let get = cloud.send("GET", &path, &[], "").await;
            assert_eq!(head.status, 200, "{path}");
            assert_eq!(head.headers["content-length"], get.text.len().to_string().as_str());
        }
        let options = cloud.send("OPTIONS", call.paths[0], &[], "").await;
        assert_eq!((options.status.as_u16(), options.text.as_str()), (204, ""));
        for method in ["TRACE", "BREW"] {
            let refused = checked(cloud.send(method, &path, &[], "").await);
            assert_eq!(
                (refused.status.as_u16(), &refused.json()["error"]),
                (405, &405.into()),
                "{method} {path}"
            );
        }
    }
    assert_eq!(before.replace("last_used", ""), cloud.state().await.replace("last_used", ""));
}

#[tokio::test]
async fn a_plus_sign_in_a_login_may_be_forgotten_to_be_encoded() {
    let cloud = TestCloud::new().await;
    let mut client = client(&cloud, &cloud.customer("alice").await).await;
    for login in ["alice", "ALICE@example.com", " alice@example.com "] {
        client.login = login.into();
        assert_eq!(client.get("listservers.php", &[]).await.status, 200, "{login}");
    }
    let plus = crate::keys::account(&cloud, "bob+home@example.com").await;
    let key = crate::keys::key(&cloud, &plus, &["any"]).await.secret;
    let raw = format!("/api/v1/listservers.php?key={key}&login=bob+home@example.com");
    assert_eq!(checked(cloud.send("GET", &raw, &[], "").await).status, 200);
    let wrong = format!("/api/v1/listservers.php?key={key}&login=bobhome@example.com");
    assert_error(&checked(cloud.send("GET", &wrong, &[], "").await), 403, 101, "invalid API key");
}
