//! The document's own lines, as they stand there: only host, key, login and ids are ours.

use crate::{BINARY, LOGIN, bulut, key, read, shell};
use bulut_testkit::program::{Program, eventually};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const BOOT: Duration = Duration::from_secs(240);
/// Keeps a guest's processor busy until [`REST`], also when the session that began it is over.
const WORK: &str = "trap '' HUP; (while :; do :; done) < /dev/null > /dev/null 2>&1 & echo $! > /tmp/pid";
const REST: &str = "kill -9 $(cat /tmp/pid)";
const BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";

// In the document these three addresses stand without quotes, which no shell takes.
const LIST_SERVERS: &str =
    r#"curl "https://panel.cloudatcost.com/api/v1/listservers.php?key=KEY&login=example@example.com""#;
const LIST_TEMPLATES: &str =
    r#"curl "https://panel.cloudatcost.com/api/v1/listtemplates.php?key=KEY&login=example@example.com""#;
const LIST_TASKS: &str =
    r#"curl "https://panel.cloudatcost.com/api/v1/listtasks.php?key=KEY&login=example@example.com""#;
const POWER: &str = r#"curl --data "key=KEY&login=example@example.com&sid=12345&action=reset" https://panel.cloudatcost.com/api/v1/powerop.php"#;
const RUN_MODE: &str = r#"curl --data "key=KEY&login=example@example.com&sid=12345&mode=normal" https://panel.cloudatcost.com/api/v1/runmode.php"#;
const RENAME: &str = r#"curl --data "key=KEY&login=example@example.com&sid=12345&name=localhost" https://panel.cloudatcost.com/api/v1/renameserver.php"#;
const REVERSE: &str = r#"curl --data "key=KEY&login=example@example.com&sid=12345&hostname=localhost.domain.com" https://panel.cloudatcost.com/api/v1/rdns.php"#;
const CONSOLE: &str = r#"curl --data "key=KEY&login=example@example.com&sid=12345" https://panel.cloudatcost.com/api/v1/console.php"#;
const BUILD: &str = r#"curl -v --data "key=KEY&login=example@example.com&cpu=1&ram=1024&storage=30&os=75" https://panel.cloudatcost.com/api/v1/cloudpro/build.php"#;
const DELETE: &str = r#"curl --data "key=KEY&login=example@example.com&sid=12345" https://panel.cloudatcost.com/api/v1/cloudpro/delete.php"#;
const RESOURCES: &str =
    r#"curl "https://panel.cloudatcost.com/api/v1/cloudpro/resources.php?key=KEY&login=example@example.com""#;

/// Somebody who runs the document's lines.
struct Reader<'a> {
    cloud: &'a Program,
    key: String,
}

impl Reader<'_> {
    /// Runs a line of the document; answers what it says, whatever that is.
    async fn ask(&self, line: &str, sid: &str) -> Value {
        let line = line
            .replace("https://panel.cloudatcost.com", &self.cloud.url())
            .replace("KEY", &self.key)
            .replace("example@example.com", LOGIN)
            .replace("12345", sid);
        read(&shell(&format!("{line} --silent --show-error"), &self.cloud.state()).await)
    }

    async fn ok(&self, line: &str, sid: &str) -> Value {
        let answer = self.ask(line, sid).await;
        assert_eq!(answer["status"], "ok", "{line}: {answer}\n{}", self.cloud.log());
        answer
    }

    async fn server(&self, sid: &str) -> Option<Value> {
        let servers = self.ok(LIST_SERVERS, sid).await;
        servers["data"].as_array().unwrap().iter().find(|server| server["sid"] == sid).cloned()
    }

    /// Waits until a task has been completed.
    async fn completed(&self, answer: &Value) -> Value {
        let idf = answer["taskid"].to_string();
        eventually(&format!("task {idf} ends"), BOOT, || async {
            let tasks = self.ok(LIST_TASKS, "").await;
            let task =
                tasks["data"].as_array().unwrap().iter().find(|task| task["idf"] == idf).unwrap().clone();
            assert_ne!(task["status"], "failed", "{task}\n{}", self.cloud.log());
            (task["status"] == "completed").then_some(task)
        })
        .await
    }
}

fn resources(total: [&str; 3], used: [&str; 3]) -> Value {
    json!({
        "total": [{"cpu_total": total[0], "ram_total": total[1], "storage_total": total[2]}],
        "used": {"cpu_used": used[0], "ram_used": used[1], "storage_used": used[2]},
    })
}

#[tokio::test]
async fn a_guest_lives_by_the_lines_of_the_cloud_at_cost_document() {
    let settings = [("BULUT_NETWORKING", "user"), ("BULUT_USAGE_EVERY_S", "1"), ("BULUT_VNC_DIRECT", "true")];
    let mut cloud = Program::start(BINARY, "tiny", None, &settings).await;
    bulut(&cloud, &["pool", "set", LOGIN, "--cpu", "8", "--ram", "8192", "--storage", "120"]);
    cloud.add_key().await;
    let key = key(&cloud);
    let reader = Reader { cloud: &cloud, key: key.clone() };
    let none = reader.ok(RESOURCES, "").await;
    assert_eq!(none["data"], resources(["8", "8192", "120"], ["0", "0", "0"]));
    let templates = reader.ok(LIST_TEMPLATES, "").await;
    let tiny =
        templates["data"].as_array().unwrap().iter().find(|it| it["detail"] == "Tiny Linux 1").unwrap();

    let missing = reader.ask(BUILD, "").await;
    assert_eq!(
        (&missing["error"], &missing["error_description"]),
        (&json!(105), &json!("no template available by that id"))
    );
    let built = reader.ok(&BUILD.replace("os=75", &format!("os={}", tiny["id"].as_str().unwrap())), "").await;
    assert_eq!((&built["action"], &built["result"]), (&json!("build"), &json!("successful")));
    let sid = built["serverid"].as_str().unwrap().to_owned();
    let id: i64 = sid.parse().unwrap();
    assert_eq!(reader.server(&sid).await.unwrap()["status"], "Installing");
    reader.completed(&built).await;
    let used = reader.ok(RESOURCES, "").await;
    assert_eq!(used["data"], resources(["8", "8192", "120"], ["1", "1024", "30"]));
    reader.ok(RUN_MODE, &sid).await;

    let first_boot = cloud.says(id, BOOT_ID, BOOT).await;
    assert_eq!(cloud.says(id, "nproc", BOOT).await, "1");
    let memory_kib: u64 =
        cloud.says(id, "awk '/MemTotal/{print $2}' /proc/meminfo", BOOT).await.parse().unwrap();
    assert!((800 * 1024..=1024 * 1024).contains(&memory_kib), "{memory_kib} KiB");
    let sectors: u64 = cloud.says(id, "cat /sys/block/vda/size", BOOT).await.parse().unwrap();
    assert_eq!(sectors * 512, 30 << 30);
    let shown = reader.server(&sid).await.unwrap();
    for (name, value) in
        [("status", "Powered On"), ("mode", "Normal"), ("template", "Tiny Linux 1"), ("cpu", "1")]
    {
        assert_eq!(shown[name], value, "{name}");
    }
    let rootpass = shown["rootpass"].as_str().unwrap().to_owned();
    assert!(cloud.lets_in(id, &rootpass, BOOT).await, "the password that is shown is root's");
    measured(&reader, &sid).await;
    photographed(&reader, &sid).await;

    let reset = reader.ok(POWER, &sid).await;
    assert_eq!((&reset["action"], &reset["serverid"]), (&json!("reset"), &json!(sid)));
    reader.completed(&reset).await;
    eventually("another boot id", BOOT, || async {
        (cloud.says(id, BOOT_ID, BOOT).await != first_boot).then_some(())
    })
    .await;
    let renamed = reader.ok(RENAME, &sid).await;
    assert_eq!(renamed["result"], "successful");
    assert_eq!(reader.server(&sid).await.unwrap()["label"], "localhost");
    assert_eq!(cloud.server(id).await["name"], "localhost");

    reader.completed(&reader.ok(REVERSE, &sid).await).await;
    let named = reader.server(&sid).await.unwrap();
    assert_eq!(
        (&named["hostname"], &named["rdns"]),
        (&json!("localhost.domain.com"), &json!("localhost.domain.com"))
    );
    let console = reader.ok(CONSOLE, &sid).await["console"].as_str().unwrap().to_owned();
    let page = shell(&format!("curl -sSL -c jar '{console}'"), &cloud.state()).await;
    assert!(page.contains("<html"), "{page}");

    // The power button, then on again: it is called as it was told by now.
    reader.completed(&reader.ok(&POWER.replace("reset", "poweroff"), &sid).await).await;
    assert_eq!(reader.server(&sid).await.unwrap()["status"], "Powered Off");
    assert!(cloud.machines().is_empty());
    reader.completed(&reader.ok(&POWER.replace("reset", "poweron"), &sid).await).await;
    assert_eq!(cloud.says(id, "hostname", BOOT).await, "localhost.domain.com");

    // What is no server, and what is nobody's key.
    let unknown = reader.ask(RENAME, "4711").await;
    assert_eq!(
        (&unknown["error"], &unknown["error_description"]),
        (&json!(109), &json!("invalid server ID"))
    );
    let stranger = Reader { cloud: &cloud, key: format!("{key}x") };
    assert_eq!(stranger.ask(LIST_SERVERS, "").await["error"], 101);

    let deleted = reader.ok(DELETE, &sid).await;
    reader.completed(&deleted).await;
    assert_eq!(reader.server(&sid).await, None);
    assert!(cloud.machines().is_empty());
    assert_eq!(cloud.leftovers(), Vec::<std::path::PathBuf>::new());
    assert_eq!(reader.ok(RESOURCES, "").await["data"], none["data"]);
    keeps_secrets(&cloud, &[key.as_str(), &rootpass, console.rsplit('/').next().unwrap(), LOGIN]);
    cloud.stop();
}

/// The figures are the guest's own: what it says of memory and disk is what is shown, and its work is seen.
async fn measured(reader: &Reader<'_>, sid: &str) {
    let id: i64 = sid.parse().unwrap();
    let cloud = reader.cloud;
    let figure = |shown: &Value, name: &str| shown[name].as_str().unwrap().parse::<f64>().unwrap();
    assert!(cloud.ssh(id, WORK).await.status.success());
    eventually("its work is seen", Duration::from_secs(60), || async {
        let shown = reader.server(sid).await.unwrap();
        (figure(&shown, "cpuusage") > 60.0).then_some(())
    })
    .await;
    let memory = "awk '/MemTotal/{t=$2} /MemAvailable/{a=$2} END{print (t-a)/1024}' /proc/meminfo";
    let memory: f64 = cloud.says(id, memory, BOOT).await.parse().unwrap();
    let disk: f64 = cloud.says(id, "df -k / | awk 'END{print $3/1048576}'", BOOT).await.parse().unwrap();
    let shown = reader.server(sid).await.unwrap();
    assert!((figure(&shown, "ramusage") - memory).abs() < 30.0, "{memory} MB in use: {shown}");
    assert!((figure(&shown, "hdusage") - disk).abs() < 0.2, "{disk} GB in use: {shown}");
    cloud.ssh(id, REST).await;
}

/// A VNC program takes a picture of the screen with the port and the password that are shown, and without it gets none.
async fn photographed(reader: &Reader<'_>, sid: &str) {
    let shown = reader.server(sid).await.unwrap();
    let (port, password) = (shown["vncport"].as_str().unwrap(), shown["vncpass"].as_str().unwrap());
    let dir = reader.cloud.state();
    let take = |name: &str, password: &str| {
        format!(
            "printf %s '{password}' | vncpasswd -f > {name}.pass && \
             timeout 60 vncsnapshot -quiet -passwd {name}.pass 127.0.0.1::{port} {name}.jpg 2>&1; test -s {name}.jpg \
             && echo taken"
        )
    };
    let said = shell(&take("screen", password), &dir).await;
    assert!(said.ends_with("taken\n"), "{said}");
    // A frame of a JPEG says how high and wide it is: QEMU's text mode is 720 by 400, the tiny guest's console 1280 by 800.
    let picture = std::fs::read(dir.join("screen.jpg")).unwrap();
    let frame = picture.windows(2).position(|two| two == [0xff, 0xc0]).expect("a JPEG") + 5;
    let (high, wide) = (&picture[frame..frame + 2], &picture[frame + 2..frame + 4]);
    assert!(u16::from_be_bytes([high[0], high[1]]) >= 400 && u16::from_be_bytes([wide[0], wide[1]]) >= 640);
    let refused = shell(&format!("{} || true", take("other", "wrong678")), &dir).await;
    assert!(!refused.contains("taken"), "{refused}");
}

/// Neither the log nor the list of processes knows any of these.
fn keeps_secrets(cloud: &Program, secrets: &[&str]) {
    let log = cloud.log();
    assert!(log.contains("account.id"), "the log was read");
    for secret in secrets {
        assert!(secret.len() > 8 && !log.contains(secret), "{secret} is in the log");
    }
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        for file in ["cmdline", "environ"] {
            let Ok(bytes) = std::fs::read(entry.path().join(file)) else { continue };
            // What this test itself runs by a shell is over by now.
            let text = String::from_utf8_lossy(&bytes);
            assert!(!secrets[..2].iter().any(|secret| text.contains(secret)), "{file} of {:?}", entry.path());
        }
    }
}

/// A day of idling, made short.
const LIMIT_S: u64 = 12;

#[tokio::test]
async fn a_safe_guest_that_idles_is_powered_off_and_one_that_works_is_not() {
    let settings =
        [("BULUT_NETWORKING", "user"), ("BULUT_USAGE_EVERY_S", "1"), ("BULUT_IDLE_CPU_PERCENT", "40")];
    let mut cloud = Program::start(BINARY, "tiny", None, &settings).await;
    bulut(&cloud, &["pool", "set", LOGIN, "--cpu", "1", "--ram", "512", "--storage", "10"]);
    cloud.add_key().await;
    let key = key(&cloud);
    let build = BUILD.replace("1024", "512").replace("storage=30", "storage=10").replace("os=75", "os=7");
    let (sid, id) = {
        let reader = Reader { cloud: &cloud, key: key.clone() };
        let built = reader.ok(&build, "").await;
        reader.completed(&built).await;
        let sid = built["serverid"].as_str().unwrap().to_owned();
        (sid.clone(), sid.parse::<i64>().unwrap())
    };
    cloud.says(id, BOOT_ID, BOOT).await;
    assert!(cloud.ssh(id, WORK).await.status.success());
    // The guest outlives the program that now counts in seconds what are days elsewhere.
    cloud.stop();
    cloud.set(&[("BULUT_IDLE_LIMIT_S", &LIMIT_S.to_string())]);
    cloud.run().await;
    let reader = Reader { cloud: &cloud, key };
    tokio::time::sleep(Duration::from_secs(LIMIT_S + 5)).await;
    assert_eq!(reader.server(&sid).await.unwrap()["status"], "Powered On", "it works\n{}", cloud.log());
    cloud.ssh(id, REST).await;
    let idle_since = Instant::now();
    let shown = reader.server(&sid).await.unwrap();
    assert_eq!(shown["mode"], "Safe");
    eventually("it is powered off", Duration::from_secs(LIMIT_S + 60), || async {
        (reader.server(&sid).await.unwrap()["status"] == "Powered Off").then_some(())
    })
    .await;
    assert!(idle_since.elapsed() >= Duration::from_secs(LIMIT_S - 2), "after {:?}", idle_since.elapsed());
    assert!(cloud.machines().is_empty());
    assert!(cloud.log().contains("powering off an idle server"));
    let tasks = reader.ok(LIST_TASKS, "").await;
    assert_eq!(tasks["data"].as_array().unwrap().last().unwrap()["action"], "poweroff");
}
