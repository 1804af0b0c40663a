//! Laws of the parameters: every encoding means the same, nothing panics, every refusal names the parameter.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use tower::ServiceExt as _;

const NAME: Param = Param::text(&["name"], "a name");
const ID: Param = Param::integer(&["id", "subscription_id"], "the id of a server");
const TAGS: Param = Param::list(&["tags"], "tags");
const KEYS: Param = Param::list(&["ssh_keys", "ssh_key"], "fingerprints");
const DATA: Param = Param::text(&["user_data"], "Base64");

async fn read(method: &str, uri: &str, content_type: &str, body: impl Into<Body>) -> Result<Params> {
    let mut request = Request::builder().method(method).uri(uri);
    if !content_type.is_empty() {
        request = request.header(CONTENT_TYPE, content_type);
    }
    Params::read(request.body(body.into()).unwrap()).await
}

async fn post(content_type: &str, body: &'static str) -> Result<Params> {
    read("POST", "/", content_type, body).await
}

const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test]
async fn arrays_of_all_spellings_mean_the_same() {
    for (content_type, body) in [
        (FORM, "tags[]=a&tags[]=b"),
        (FORM, "tags%5B%5D=a&tags%5B%5D=b"),
        (FORM, "tags[0]=a&tags[1]=b"),
        (FORM, "tags[1]=b&tags[0]=a"),
        (FORM, "tags=a,b"),
        (FORM, "tags=a%2C+b"),
        (FORM, "tags=a&tags=b"),
        (FORM, "tags=a,b,,a"),
        ("application/json", r#"{"tags":["a","b"]}"#),
        ("application/json", r#"{"tags":"a,b"}"#),
        ("application/json", r#"{"tags[]":["a","b"]}"#),
        ("application/json", r#"{"tags":{"1":"b","0":"a"}}"#),
        ("application/json", r#"{"tags":[["a"],null,"b"]}"#),
        (
            "multipart/form-data; boundary=x",
            "--x\r\nContent-Disposition: form-data; name=\"tags[]\"\r\n\r\na\r\n\
             --x\r\nContent-Disposition: form-data; name=\"tags[]\"\r\n\r\nb\r\n--x--\r\n",
        ),
    ] {
        let params = post(content_type, body).await.unwrap();
        assert_eq!(params.list(&TAGS).unwrap(), ["a", "b"], "{body}");
    }
    let many = (0..12).rev().map(|n| format!("tags[{n}]=t{n}")).collect::<Vec<_>>().join("&");
    let params = read("POST", "/", FORM, many).await.unwrap();
    assert_eq!(params.list(&TAGS).unwrap(), (0..12).map(|n| format!("t{n}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_list_that_may_be_empty_is_still_given() {
    const WORDS: Param = Param::list(&["tags", "tag"], "tags");
    for (content_type, body) in [
        (FORM, "tags=a%20b"),
        (FORM, "tags=a+%09b,,a"),
        (FORM, "tag[]=a&tag[]=b"),
        ("application/json", r#"{"tags":["a b"]}"#),
    ] {
        assert_eq!(post(content_type, body).await.unwrap().words(&WORDS).unwrap(), ["a", "b"], "{body}");
    }
    for body in [r#"{"tags":[]}"#, r#"{"tags":{}}"#, r#"{"tags":[null]}"#, r#"{"tag":[]}"#] {
        assert!(post("application/json", body).await.unwrap().words(&WORDS).unwrap().is_empty(), "{body}");
    }
    for (content_type, body) in [
        (FORM, ""),
        (FORM, "tags="),
        (FORM, "tags[]="),
        (FORM, "tags=%20,"),
        ("application/json", r#"{"tags":null}"#),
        ("application/json", r#"{"tags":""}"#),
        ("application/json", r#"{"tags":[""]}"#),
    ] {
        let params = post(content_type, body).await.unwrap();
        assert!(params.words(&WORDS).unwrap_err().public.contains("tags is missing"), "{body}");
        assert!(params.required_list(&WORDS).unwrap_err().public.contains("tags is missing"), "{body}");
    }
    // What the body says counts for nothing on a GET.
    let params = read("GET", "/", "application/json", r#"{"tags":[]}"#).await.unwrap();
    assert!(params.words(&WORDS).is_err());
}

#[tokio::test]
async fn integers_come_one_by_one_or_together() {
    const IDS: Param = Param::integers(&["sub_ids", "sub_id"], "ids of servers");
    for (content_type, body) in [
        (FORM, "sub_ids[]=1515&sub_ids[]=1520"),
        (FORM, "sub_ids=1515,%201520"),
        (FORM, "sub_id=1515&sub_id=1520"),
        ("application/json", r#"{"sub_ids":[1515,"1520"]}"#),
        ("application/json", r#"{"sub_ids":[1515.0,"1520.00"]}"#),
        ("application/json", r#"{"sub_id":"1515,1520"}"#),
    ] {
        assert_eq!(post(content_type, body).await.unwrap().integers(&IDS).unwrap(), [1515, 1520], "{body}");
    }
    for body in ["", "sub_ids=", "sub_ids=1515,x", "sub_ids=1.5", "sub_ids=99999999999999999999"] {
        let params = post(FORM, body).await.unwrap();
        assert!(params.integers(&IDS).unwrap_err().public.contains("sub_ids"), "{body}");
    }
    assert!(post(FORM, "sub_id=x").await.unwrap().integers(&IDS).unwrap_err().public.contains("sub_id "));
    let params = post(FORM, "id=").await.unwrap();
    assert_eq!(params.optional_integer(&ID).unwrap(), None);
    assert!(params.integer(&ID).is_err());
}

#[tokio::test]
async fn a_time_is_seconds_or_the_documents_form() {
    const FROM: Param = Param::time(&["from"], "a time");
    for (query, seconds) in [
        ("from=1515678960", Some(1_515_678_960)),
        ("from=%202018-01-11T13:56:00Z%20", Some(1_515_678_960)),
        ("from=0", Some(0)),
        ("from=253402300799", Some(253_402_300_799)),
        ("from=", None),
        ("", None),
    ] {
        let params = read("GET", &format!("/?{query}"), "", "").await.unwrap();
        assert_eq!(params.time(&FROM).unwrap(), seconds.map(Timestamp::from_unix_seconds), "{query}");
    }
    for bad in
        ["-1", "253402300800", "1.5", "now", "2018-01-11", "2018-01-11T13:56:00", "2018-02-30T00:00:00Z"]
    {
        let params = read("GET", &format!("/?from={bad}"), "", "").await.unwrap();
        assert!(params.time(&FROM).unwrap_err().public.contains("from is"), "{bad}");
    }
}

#[tokio::test]
async fn one_text_is_a_list_of_one_and_a_list_of_one_is_a_text() {
    let params = post(FORM, "ssh_key=d3:b7&name[]=web1").await.unwrap();
    assert_eq!(params.list(&KEYS).unwrap(), ["d3:b7"]);
    assert_eq!(params.required(&NAME).unwrap(), "web1");
    let params = post("application/json", r#"{"name":["a","b"]}"#).await.unwrap();
    assert!(params.required(&NAME).unwrap_err().public.contains("name must be one value"));
    let both = post(FORM, "ssh_key=a&ssh_keys=b").await.unwrap();
    assert_eq!(both.list(&KEYS).unwrap(), ["b", "a"]);
    let words = post(FORM, "tags=asdsa%20asd%20x,y").await.unwrap();
    assert_eq!(words.words(&TAGS).unwrap(), ["asdsa", "asd", "x", "y"]);
}

#[tokio::test]
async fn empty_is_not_given() {
    for (content_type, body) in [
        (FORM, "name=&tags=&user_data=&id="),
        (FORM, "name&tags[]=&tags[]="),
        (FORM, ""),
        (FORM, "&&&"),
        ("application/json", ""),
        ("application/json", "null"),
        ("application/json", r#"{"name":null,"tags":[],"id":""}"#),
        ("", "\r\n"),
    ] {
        let params = post(content_type, body).await.unwrap();
        assert_eq!(params.optional(&NAME).unwrap(), None, "{body}");
        assert!(params.list(&TAGS).unwrap().is_empty(), "{body}");
        assert!(params.integer(&ID).unwrap_err().public.contains("id is missing"), "{body}");
    }
}

#[tokio::test]
async fn the_body_is_read_by_its_look_when_its_type_is_missing_or_nonsense() {
    let multipart = "--x\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nweb1\r\n--x--\r\n";
    for content_type in
        ["", "text/plain", "nonsense", "application/octet-stream", "multipart/form-data", FORM]
    {
        for body in ["name=web1", " {\"name\":\"web1\"}\n", multipart, "name=web1\r\n"] {
            let params = post(content_type, body).await.unwrap();
            assert_eq!(params.required(&NAME).unwrap(), "web1", "{content_type}: {body}");
        }
    }
    for content_type in ["application/json", "text/json; charset=utf-8", "APPLICATION/VND.API+JSON"] {
        let params = post(content_type, "\u{feff}{\"name\":\"web1\"}").await.unwrap();
        assert_eq!(params.required(&NAME).unwrap(), "web1", "{content_type}");
    }
}

#[tokio::test]
async fn a_broken_body_is_refused() {
    for (content_type, body) in [
        ("application/json", "{\"name\":"),
        ("application/json", "name=web1"),
        ("application/json", "[1,2]"),
        ("application/json", "\"web1\""),
        ("", "{\"name\":"),
        (
            "multipart/form-data; boundary=x",
            "--x\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nweb1",
        ),
    ] {
        let error = post(content_type, body).await.unwrap_err();
        assert!(error.public.contains("body"), "{}", error.public);
    }
}

#[tokio::test]
async fn what_is_not_text_is_refused_only_where_it_is_asked_for() {
    let damaged = post("application/json", r#"{"name":{"a":1},"id":7}"#).await.unwrap();
    assert_eq!(damaged.integer(&ID).unwrap(), 7);
    assert!(damaged.required(&NAME).unwrap_err().public.contains("name"));
    let damaged = post(FORM, "name=%ff%fe&tags[]=%ff&id=7").await.unwrap();
    assert_eq!(damaged.integer(&ID).unwrap(), 7);
    assert!(damaged.optional(&NAME).unwrap_err().public.contains("name is not UTF-8"));
    assert!(damaged.list(&TAGS).unwrap_err().public.contains("tags is not UTF-8"));
}

#[tokio::test]
async fn a_zero_byte_is_refused_where_it_is_asked_for() {
    for (content_type, body) in
        [(FORM, "name=a%00b&tags=c"), ("application/json", r#"{"name":"a\u0000b","tags":"c"}"#)]
    {
        let params = post(content_type, body).await.unwrap();
        assert!(params.required(&NAME).unwrap_err().public.contains("name"));
        assert_eq!(params.list(&TAGS).unwrap(), ["c"]);
    }
}

#[tokio::test]
async fn broken_escapes_stay_as_they_are() {
    let params = post(FORM, "name=100%&id=%37&tags=%zz,%4").await.unwrap();
    assert_eq!(params.required(&NAME).unwrap(), "100%");
    assert_eq!(params.integer(&ID).unwrap(), 7);
    assert_eq!(params.list(&TAGS).unwrap(), ["%zz", "%4"]);
}

#[tokio::test]
async fn a_plus_is_a_blank_unless_blanks_are_written_otherwise() {
    let params = post(FORM, "name=a+b%2Bc").await.unwrap();
    assert_eq!(params.required(&NAME).unwrap(), "a b+c");
    let key = post(FORM, "name=ssh-rsa%20AAAA+b/c%20me").await.unwrap();
    assert_eq!(key.required(&NAME).unwrap(), "ssh-rsa AAAA+b/c me");
    let data = post(FORM, "user_data=ab+/%0Acd==%0A").await.unwrap();
    assert_eq!(data.base64(&DATA).unwrap().unwrap(), "ab+/cd==");
}

#[tokio::test]
async fn json_scalars_are_their_text() {
    let params = post("application/json", r#"{"id":7,"name":512,"tags":[1,true,"x"]}"#).await.unwrap();
    assert_eq!(params.integer(&ID).unwrap(), 7);
    assert_eq!(params.required(&NAME).unwrap(), "512");
    assert_eq!(params.list(&TAGS).unwrap(), ["1", "true", "x"]);
    let params = post("application/json", r#"{"subscription_id":"8"}"#).await.unwrap();
    assert_eq!(params.integer(&ID).unwrap(), 8);
}

#[tokio::test]
async fn what_is_no_integer_is_refused_by_the_name_it_came_under() {
    for body in ["subscription_id=abc", "subscription_id=1.5", "subscription_id=99999999999999999999"] {
        let error = post(FORM, body).await.unwrap().integer(&ID).unwrap_err();
        assert!(error.public.contains("subscription_id"), "{}", error.public);
    }
    let long = format!("id={}", "x".repeat(1000));
    let error = read("POST", "/", FORM, long).await.unwrap().integer(&ID).unwrap_err();
    assert!(error.public.len() < 200, "{}", error.public);
}

#[tokio::test]
async fn the_body_wins_and_the_query_fills() {
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let params = read(method, "/?name=query&id=7&tags=q", FORM, "name=body&id=").await.unwrap();
        assert_eq!(params.required(&NAME).unwrap(), "body", "{method}");
        assert_eq!(params.integer(&ID).unwrap(), 7, "{method}");
        assert_eq!(params.list(&TAGS).unwrap(), ["q"], "{method}");
        let alias = read(method, "/?id=7", FORM, "subscription_id=8").await.unwrap();
        assert_eq!(alias.integer(&ID).unwrap(), 8, "{method}");
    }
}

#[tokio::test]
async fn on_a_get_the_body_does_not_count() {
    for method in ["GET", "HEAD"] {
        for (content_type, body) in [("application/json", "{broken"), (FORM, "name=body"), ("x/y", "\0\0")] {
            let params = read(method, "/?name=query", content_type, body).await.unwrap();
            assert_eq!(params.required(&NAME).unwrap(), "query");
        }
    }
}

#[tokio::test]
async fn the_path_always_wins() {
    let show = async |request: Request| match Params::read(request).await {
        Ok(params) => params.integer(&ID).map_or_else(|error| error.public, |id| id.to_string()),
        Err(error) => error.public,
    };
    let router = axum::Router::new().route("/{id}/start", axum::routing::post(show));
    let ask = async |uri: &str, body: &'static str| {
        let request = Request::post(uri).header(CONTENT_TYPE, FORM).body(Body::from(body)).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        String::from_utf8(to_bytes(response.into_body(), 1000).await.unwrap().to_vec()).unwrap()
    };
    assert_eq!(ask("/5/start?id=6", "id=7&subscription_id=8").await, "5");
    assert_eq!(ask("/%35/start", "").await, "5");
    assert!(ask("/%7B%7Bsubscription_id%7D%7D/start", "id=7").await.contains("id is"));
    assert!(ask("/%ff/start", "id=7").await.contains("path is not UTF-8"));
}

/// What a client means to send: texts and lists by their names. Values are without blanks around them and
/// without commas, and lists hold each value once, since lists do not keep these; nor has a text a zero byte.
fn meant() -> impl Strategy<Value = BTreeMap<String, Vec<String>>> {
    let value = "[^,\\s\\x00]([^,\\x00]{0,10}[^,\\s\\x00])?";
    let list = prop::collection::btree_set(value, 1..4).prop_map(|set| set.into_iter().collect());
    prop::collection::btree_map("[a-z_]{1,8}", list, 0..5)
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn form_of(meant: &BTreeMap<String, Vec<String>>) -> String {
    let pair = |(name, value): (&String, &String)| format!("{name}%5B%5D={}", escaped(value));
    let pairs = meant.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
    pairs.map(pair).collect::<Vec<_>>().join("&")
}

fn multipart_of(meant: &BTreeMap<String, Vec<String>>) -> String {
    let mut body = String::new();
    for (name, values) in meant {
        for value in values {
            body.push_str("--a-boundary-that-no-value-has\r\n");
            body.push_str(&format!("Content-Disposition: form-data; name=\"{name}[]\"\r\n\r\n{value}\r\n"));
        }
    }
    body + "--a-boundary-that-no-value-has--\r\n"
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

proptest! {
    #[test]
    fn every_encoding_means_the_same(meant in meant()) {
        let form = form_of(&meant);
        let multipart = "multipart/form-data; boundary=a-boundary-that-no-value-has";
        let requests = [
            ("POST", "/".to_owned(), FORM, form.clone()),
            ("POST", "/".to_owned(), "", form.clone()),
            ("DELETE", "/".to_owned(), "application/json", serde_json::to_string(&meant).unwrap()),
            ("PUT", "/".to_owned(), "nonsense", serde_json::to_string(&meant).unwrap()),
            ("POST", "/".to_owned(), multipart, multipart_of(&meant)),
            ("GET", format!("/?{form}"), "", String::new()),
            ("POST", format!("/?{form}"), "", String::new()),
        ];
        for (method, uri, content_type, body) in requests {
            let params = runtime().block_on(read(method, &uri, content_type, body.clone())).unwrap();
            for (name, values) in &meant {
                let names: &'static [&'static str] = Box::leak(Box::new([&*name.clone().leak()]));
                let found = params.list(&Param::list(names, "it")).unwrap();
                prop_assert_eq!(&found, values, "{} {} {}", method, content_type, body);
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(
        body in prop::collection::vec(any::<u8>(), 0..300),
        kind in prop::sample::select(vec![
            "", FORM, "application/json", "multipart/form-data; boundary=x", "multipart/form-data", "a/b;c",
        ]),
        query in "[ -~]{0,40}",
    ) {
        let uri = format!("/?{}", query.replace([' ', '<', '>', '"', '\\', '^', '`', '{', '|', '}', '#'], ""));
        if let Ok(params) = runtime().block_on(read("POST", &uri, kind, body)) {
            let _ = (params.optional(&NAME), params.list(&TAGS), params.integer(&ID), params.base64(&DATA));
        }
    }

    #[test]
    fn no_structured_text_makes_it_panic(body in "[-{}\\[\\]\":,=&%x\r\n0-9a-f]{0,120}", boundary in any::<bool>()) {
        let kind = if boundary { "multipart/form-data; boundary=x" } else { "" };
        if let Ok(params) = runtime().block_on(read("POST", "/", kind, body)) {
            let _ = (params.optional(&NAME), params.list(&TAGS), params.integer(&ID), params.base64(&DATA));
        }
    }
}
