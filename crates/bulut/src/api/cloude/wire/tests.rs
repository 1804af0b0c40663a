//! The wire types against the document's own examples.

use super::*;
use bulut_model::catalog::ImageKind;
use bulut_model::operation::{OperationKind, Status};
use bulut_model::run_mode::RunMode;
use bulut_model::server::{Phase, Power};
use bulut_model::{AccountId, ImageId, NodeId, PackageId, RegionId, SshKeyId, Timestamp};
use serde_json::{json, to_string, to_value};

fn server() -> Server {
    Server {
        id: ServerId(1),
        account: AccountId(9),
        region: RegionId(1),
        node: NodeId(1),
        package: PackageId(2),
        image: ImageId(3),
        region_slug: "ist2".into(),
        package_slug: "eos2".into(),
        image_slug: "ubuntu-16-04-x64".into(),
        name: "ubuntu-16-04-x64".into(),
        hostname: "ubuntu-16-04-x64".into(),
        reverse_name: None,
        cpu: 1,
        memory_mib: 1024,
        disk_gib: 40,
        traffic_tb: 4,
        phase: Phase::Ready,
        power: Power::Stopped,
        ipv4: Some(ServerIpv4 {
            address: "172.17.32.68".parse().unwrap(),
            prefix: 26,
            gateway: "172.17.32.65".parse().unwrap(),
        }),
        ipv6: None,
        ssh_endpoint: Some("172.17.32.68:22".into()),
        in_pool: false,
        is_named: true,
        run_mode: RunMode::Normal,
        created_at: Timestamp::from_unix_seconds(1_515_064_474),
        active_operations: vec![1578],
        tags: vec!["web1".into()],
    }
}

#[test]
fn a_server_is_the_documents_in_fields_types_and_order() {
    let expected = concat!(
        r#"{"id":1,"name":"ubuntu-16-04-x64","cpu":1,"memory":1,"disk":40,"bandwidth":4,"state":"Stopped","#,
        r#""region":"ist2","image":"ubuntu-16-04-x64","package":"eos2","networks":{"v4":{"#,
        r#""ip":"172.17.32.68","netmask":"255.255.255.192","gateway":"172.17.32.65"},"v6":""},"#,
        r#""created_at":"2018-01-04T11:14:34Z","active_events":[1578],"#,
        r#""hostname":"ubuntu-16-04-x64","tags":["web1"]}"#,
    );
    assert_eq!(to_string(&ServerView::from(&server())).unwrap(), expected);
    let list = crate::api::cloude::render_server_list(&[server()]).unwrap();
    let list = String::from_utf8(list.to_vec()).unwrap();
    assert_eq!(list, format!(r#"{{"status":"success","data":[{expected}],"message":null}}"#));
}

#[test]
fn a_server_without_ipv4_and_with_ipv6_says_so() {
    let v6 =
        ServerIpv6 { address: "fd00::1:0".parse().unwrap(), prefix: 64, gateway: "fe80::1".parse().unwrap() };
    let server = Server { ipv4: None, ipv6: Some(v6), memory_mib: 512, ..server() };
    let view = to_value(ServerView::from(&server)).unwrap();
    assert_eq!(view["networks"]["v4"], "");
    assert_eq!(view["networks"]["v6"], json!({"ip": "fd00::1:0", "netmask": "64", "gateway": "fe80::1"}));
    assert_eq!(view["memory"], 0.5);
}

#[test]
fn a_balance_is_a_number_written_exactly() {
    for (micros, text) in [
        (6_250_000, "6.25"),
        (0, "0"),
        (10_000_000, "10"),
        (-1_500_000, "-1.5"),
        (1, "1e-6"),
        (100, "0.0001"),
        (999_999_999_999_999, "999999999.999999"),
    ] {
        let written = to_string(&UserBalance { balance: Amount(Micros(micros)) }).unwrap();
        assert_eq!(written, format!(r#"{{"balance":{text}}}"#));
    }
}

#[test]
fn the_catalogue_is_the_documents() {
    let package = Package {
        id: PackageId(1),
        slug: "eos1".into(),
        cpu: 1,
        memory_mib: 1024,
        disk_gib: 20,
        traffic_tb: 1,
        hourly: Micros(7_400),
        monthly: Micros(5_000_000),
        active: true,
        regions: vec!["ist1".into(), "izml".into(), "ist2".into()],
    };
    assert_eq!(
        to_string(&PackageView::from(package)).unwrap(),
        concat!(
            r#"{"slug":"eos1","cpu":1,"ram":1,"disk":20,"bandwidth":1,"hourly_price":"0.0074","#,
            r#""monthly_price":"5.0000","regions":["ist1","izml","ist2"]}"#,
        )
    );
    let image = Image {
        id: ImageId(1),
        slug: "wordpress".into(),
        name: "Wordpress".into(),
        distribution: "Ubuntu".into(),
        kind: ImageKind::Application,
        min_cpu: None,
        min_memory_mib: None,
        min_disk_gib: None,
        default_user: "root".into(),
        active: true,
        base_slug: None,
        recipe: None,
        files: None,
        regions: vec!["ist2".into()],
    };
    assert_eq!(
        to_string(&ImageView::from(image)).unwrap(),
        concat!(
            r#"{"name":"Wordpress","slug":"wordpress","type":"application","distribution":"Ubuntu","#,
            r#""regions":["ist2"],"min_cpu":null,"min_ram":null,"min_disk_size":null}"#,
        )
    );
    let region = Region {
        id: RegionId(1),
        slug: "ist1".into(),
        name: "Ist-01".into(),
        country: "TR".into(),
        active: false,
    };
    assert_eq!(
        to_string(&RegionView::from(region)).unwrap(),
        r#"{"slug":"ist1","name":"Ist-01","country":"TR","status":false}"#
    );
}

#[test]
fn keys_are_an_object_in_the_order_of_the_keys() {
    let key = |name: &str| SshKey {
        id: SshKeyId(1),
        name: name.into(),
        public_key: "ssh-rsa AAAA".into(),
        fingerprint: "d3:b7".into(),
        created_at: Timestamp::default(),
    };
    assert_eq!(
        to_string(&KeysByName(vec![key("z"), key("a")])).unwrap(),
        concat!(
            r#"{"z":{"name":"z","public_key":"ssh-rsa AAAA","fingerprint":"d3:b7"},"#,
            r#""a":{"name":"a","public_key":"ssh-rsa AAAA","fingerprint":"d3:b7"}}"#,
        )
    );
    assert_eq!(to_string(&KeysByName(vec![])).unwrap(), "{}");
}

#[test]
fn an_event_is_the_documents_and_a_failed_one_says_why() {
    let operation = Operation {
        id: OperationId(2536),
        account: AccountId(1),
        server: ServerId(1511),
        snapshot: None,
        kind: OperationKind::ServerStart,
        status: Status::Running,
        message: None,
        created_at: Timestamp::from_unix_seconds(1_529_508_101),
        completed_at: None,
    };
    assert_eq!(
        to_string(&EventView::from(operation.clone())).unwrap(),
        concat!(
            r#"{"id":2536,"event":"VM.START","status":0,"subscription_id":1511,"#,
            r#""created_at":"2018-06-20T15:21:41Z","completed_at":""}"#,
        )
    );
    let failed = Operation {
        status: Status::Error,
        message: Some("QEMU did not start.".into()),
        completed_at: Some(operation.created_at),
        ..operation
    };
    let view = to_value(EventView::from(failed)).unwrap();
    assert_eq!(view["status"], -1);
    assert_eq!(view["message"], "QEMU did not start.");
    assert_eq!(view["completed_at"], "2018-06-20T15:21:41Z");
}
