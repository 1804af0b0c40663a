//! The wire types against the document's own outputs.

use super::*;
use crate::api::cac::answer::one_line;
use bulut_model::address::ServerIpv4;
use bulut_model::{ImageId, NodeId, PackageId, RegionId};
use serde_json::{Value, json};
use std::time::Duration;

fn server() -> Server {
    Server {
        id: ServerId(240_294),
        account: AccountId(90_001),
        region: RegionId(1),
        node: NodeId(1),
        package: PackageId(21_579),
        image: ImageId(3),
        region_slug: "ist2".into(),
        package_slug: "custom".into(),
        image_slug: "debian-12-x64".into(),
        name: "api-test".into(),
        hostname: "c9000-iOD-123.cloudatcost.com".into(),
        reverse_name: None,
        cpu: 4,
        memory_mib: 4096,
        disk_gib: 69,
        traffic_tb: 1,
        phase: Phase::Ready,
        power: Power::Running,
        ipv4: Some(ServerIpv4 {
            address: "1.2.3.4".parse().unwrap(),
            prefix: 24,
            gateway: "1.2.3.1".parse().unwrap(),
        }),
        ipv6: None,
        ssh_endpoint: None,
        in_pool: true,
        is_named: true,
        run_mode: RunMode::Normal,
        created_at: Timestamp::from_unix_seconds(1_390_694_400),
        active_operations: vec![],
        tags: vec![],
    }
}

fn besides() -> Besides {
    Besides {
        template: "Microsoft Windows 7 (64-bit)".into(),
        password: "password".into(),
        usage: Some(MachineUsage {
            epoch: "a".into(),
            cpu_us: 0,
            traffic_bytes: 0,
            memory_bytes: 3_728_945_152,
            disk_bytes: 466_747,
            cpu_permille: 261,
            idle: Duration::ZERO,
            seen_at: Timestamp(0),
        }),
        vnc: Some((45_148, "vnc_pass".into())),
        reverse: ("server-240294.example.com".into(), "server-240294.example.com".into()),
    }
}

fn line<T: Serialize>(value: &T) -> String {
    String::from_utf8(one_line(value).unwrap()).unwrap()
}

fn row(server: Server) -> Value {
    serde_json::from_str(&line(&ServerRow::new(server, besides()))).unwrap()
}

#[test]
fn a_server_has_the_documents_fields_in_its_order() {
    let expected = concat!(
        r#"{"id": "240294","CustID": "90001","packageid": "21579","servername": "c90001-240294","lable": "api-test","#,
        r#""label": "api-test","vmname": "c90001-240294","ip": "1.2.3.4","netmask": "255.255.255.0","#,
        r#""gateway": "1.2.3.1","portgroup": "ist2","hostname": "c9000-iOD-123.cloudatcost.com","#,
        r#""rootpass": "password","vncport": "45148","vncpass": "vnc_pass","servertype": "Custom","#,
        r#""template": "Microsoft Windows 7 (64-bit)","cpu": "4","cpuusage": "26.1","ram": "4096","#,
        r#""ramusage": "3556.199","storage": "69","hdusage": "0.000434692","sdate": "01\/26\/2014","#,
        r#""status": "Powered On","panel_note": "","mode": "Normal","uid": "240294","sid": "240294","#,
        r#""rdns": "server-240294.example.com","rdnsdefault": "server-240294.example.com"}"#,
    );
    assert_eq!(line(&ServerRow::new(server(), besides())), expected);
}

#[test]
fn a_row_says_what_a_server_does() {
    let building = row(Server { phase: Phase::Building, power: Power::Stopped, ipv4: None, ..server() });
    assert_eq!((&building["status"], &building["ip"]), (&json!("Installing"), &json!("")));
    let off = row(Server { power: Power::Stopped, ..server() });
    assert_eq!(off["status"], "Powered Off");
    assert_eq!((&off["cpuusage"], &off["ramusage"]), (&json!("0"), &json!("0")));
    assert_eq!(off["hdusage"], "0.000434692", "its disk is still there");
    assert_eq!(row(Server { power: Power::Stopping, ..server() })["status"], "Powered On");
    let unnamed = row(Server { is_named: false, run_mode: RunMode::Safe, ..server() });
    assert_eq!((&unnamed["label"], &unnamed["lable"]), (&Value::Null, &Value::Null));
    assert_eq!(unnamed["mode"], "Safe");
    let package = row(Server { in_pool: false, package_slug: "eos1".into(), ..server() });
    assert_eq!(package["servertype"], "eos1");
    let all = row(server());
    assert!(all.as_object().unwrap().values().all(Value::is_string), "{all}");
}

#[test]
fn nothing_is_known_of_a_machine_that_was_not_looked_at_and_qemu_is_not_the_guest() {
    let unseen = ServerRow::new(server(), Besides { usage: None, ..besides() });
    assert_eq!((unseen.cpuusage.as_str(), unseen.hdusage.as_str()), ("0", "0"));
    let small = ServerRow::new(Server { memory_mib: 512, ..server() }, besides());
    assert_eq!(small.ramusage, "512");
}

#[test]
fn decimals_are_short_and_cut_off() {
    for (value, unit, digits, text) in [
        (0, 10, 1, "0"),
        (5, 10, 1, "0.5"),
        (1000, 10, 1, "100"),
        (1, 1 << 20, 3, "0"),
        (1 << 20, 1 << 20, 3, "1"),
        (u64::MAX, 1 << 30, 9, "17179869183.999999999"),
    ] {
        assert_eq!(decimal(value, unit, digits), text);
    }
}

#[test]
fn a_pending_task_has_digits_everywhere_and_a_server_that_is_gone_a_name() {
    let operation = Operation {
        id: OperationId(22),
        account: AccountId(9),
        server: ServerId(7),
        snapshot: None,
        kind: OperationKind::ServerReboot,
        status: Status::Running,
        message: None,
        created_at: Timestamp::from_unix_seconds(1_425_504_093),
        completed_at: None,
    };
    let pending = line(&TaskRow::new(&operation, Some(&server()), ("a.b".into(), "c.d".into())));
    assert_eq!(
        pending,
        concat!(
            r#"{"cid": "9","idf": "22","serverid": "7","action": "reset","status": "pending","#,
            r#""starttime": "1425504093","finishtime": "1425504093","servername": "c9-7","ip": "1.2.3.4","#,
            r#""label": "api-test","rdns": "a.b","rdnsdefault": "c.d"}"#
        )
    );
    let ended = Operation {
        status: Status::Success,
        completed_at: Some(Timestamp::from_unix_seconds(1_425_504_094)),
        ..operation.clone()
    };
    let gone: Value = serde_json::from_str(&line(&TaskRow::new(&ended, None, Default::default()))).unwrap();
    assert_eq!((&gone["status"], &gone["finishtime"]), (&json!("completed"), &json!("1425504094")));
    assert_eq!(
        (&gone["servername"], &gone["ip"], &gone["label"]),
        (&json!("c9-7"), &json!(""), &Value::Null)
    );
    let failed = Operation { status: Status::Error, ..operation };
    assert!(line(&TaskRow::new(&failed, None, Default::default())).contains(r#""status": "failed""#));
}

#[test]
fn every_operation_has_a_word() {
    let words: std::collections::BTreeSet<_> = OperationKind::ALL.into_iter().map(action_word).collect();
    assert_eq!(words.len(), OperationKind::ALL.len());
}

#[test]
fn totals_are_a_list_of_one_unless_the_operator_wants_them_plain() {
    let pool = Pool {
        total: Resources { cpu: 8, memory_mib: 8192, disk_gib: 120 },
        used: Resources { cpu: 3, memory_mib: 3072, disk_gib: 90 },
    };
    assert_eq!(
        line(&PoolAnswer::new(&pool, false)),
        concat!(
            r#"{"action": "resources","data": {"total": [{"cpu_total": "8","ram_total": "8192","#,
            r#""storage_total": "120"}],"used": {"cpu_used": "3","ram_used": "3072","storage_used": "90"}}}"#
        )
    );
    assert!(line(&PoolAnswer::new(&pool, true)).contains(r#""total": {"cpu_total": "8","#));
    assert!(line(&PoolAnswer::new(&Pool::default(), false)).contains(r#""storage_used": "0""#));
}
