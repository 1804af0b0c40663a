//! The console in a real browser, with a real guest behind it: what is seen on the page is what the guest shows, and
//! what is typed there arrives in the guest.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

use bulut_testkit::browser::Browser;
use bulut_testkit::program::{Program, eventually};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

const BINARY: &str = env!("CARGO_BIN_EXE_bulut");
const BOOT: Duration = Duration::from_secs(180);
/// What the page shows shortly after it has happened; the machine may be busy with other tests.
const SHORTLY: Duration = Duration::from_secs(60);
/// Has letters of both cases and signs, so that the keys' levels matter.
const PASSWORD: &str = "Kanzlei-7_(x)";
const BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";

/// The bits of the canvas in cells of a text screen: for each of rows × columns the lit pixels as one text.
const CELLS: &str = "((rows, columns) => {
    const canvas = document.querySelector('#panel-screen canvas');
    if (!canvas || !canvas.width) return null;
    const width = Math.floor(canvas.width / columns), height = Math.floor(canvas.height / rows);
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    const cells = [];
    for (let row = 0; row < rows; row += 1) for (let column = 0; column < columns; column += 1) {
        let bits = '';
        for (let y = row * height; y < (row + 1) * height; y += 1)
            for (let x = column * width; x < (column + 1) * width; x += 1) {
                const at = 4 * (y * canvas.width + x);
                bits += data[at] + data[at + 1] + data[at + 2] > 120 ? '1' : '0';
            }
        cells.push(bits);
    }
    return cells;
})";

const CONNECTED: &str = "document.querySelector('#dot').className === 'good'";
const TERMINAL: &str = "(document.querySelector('#panel-serial .xterm-rows')?.innerText ?? '')";

/// A cloud with a running tiny guest that has the password.
async fn cloud_with_guest(settings: &[(&str, &str)]) -> (Program, i64) {
    let cloud = Program::start(BINARY, "tiny", None, settings).await;
    let fingerprint = cloud.add_key().await;
    let (id, ordered) = cloud.order("tiny", &[("ssh_keys", &fingerprint)]).await;
    cloud.succeeded(&ordered).await;
    cloud.says(id, &format!("echo 'root:{PASSWORD}' | chpasswd"), BOOT).await;
    (cloud, id)
}

async fn link(cloud: &Program, id: i64) -> String {
    let link = cloud.call("POST", &format!("/v2/servers/{id}/console"), &[]).await;
    link["url"].as_str().unwrap_or_else(|| panic!("no link: {link}")).to_owned()
}

async fn shows(browser: &mut Browser, what: &str, limit: Duration, text: &str) {
    let script = format!("document.body.innerText.includes({})", json!(text));
    browser.until(what, limit, &script).await;
}

/// Waits until the picture on the page is the text that stands in the guest's screen memory, and that has `word`.
async fn screen_shows(browser: &mut Browser, cloud: &Program, id: i64, word: &str) {
    let begun = std::time::Instant::now();
    loop {
        // Size and place of the cursor, then a byte and a colour for each cell.
        let memory = cloud.says(id, "od -An -v -tu1 /dev/vcsa1", SHORTLY).await;
        let memory: Vec<u8> = memory.split_whitespace().map(|byte| byte.parse().unwrap()).collect();
        let (rows, columns) = (memory[0], memory[1]);
        let text: Vec<char> = memory[4..].chunks(2).map(|cell| char::from(cell[0])).collect();
        let cells = browser.evaluate(&format!("{CELLS}({rows}, {columns})")).await;
        let why = match cells.as_array() {
            Some(cells) => differs(&text, cells),
            None => Some("there is no picture".into()),
        };
        let text: String = text.iter().collect();
        let why = why.or_else(|| (!text.contains(word)).then(|| format!("no {word:?} in {text:?}")));
        let Some(why) = why else { return };
        if begun.elapsed() > SHORTLY {
            let picture = browser.picture("console-failed").await;
            panic!("the picture is not the guest's screen ({why}): see {}\n{text}", picture.display());
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Why these cells are not this text: the same character must look the same everywhere, another one different, and
/// nothing must be seen where there is none. One cell may be off, since a cursor blinks there.
fn differs(text: &[char], cells: &[Value]) -> Option<String> {
    if text.len() != cells.len() {
        return Some(format!("{} cells for {} characters", cells.len(), text.len()));
    }
    let lit = |bits: &str| bits.contains('1');
    let mut looks: HashMap<char, HashMap<&str, usize>> = HashMap::new();
    for (character, bits) in text.iter().zip(cells) {
        *looks.entry(*character).or_default().entry(bits.as_str().unwrap()).or_default() += 1;
    }
    let mut odd = 0;
    let mut seen: HashMap<&str, char> = HashMap::new();
    for (character, forms) in &looks {
        let (usual, count) = forms.iter().max_by_key(|(_, count)| **count).unwrap();
        odd += forms.values().sum::<usize>() - count;
        if lit(usual) == character.is_ascii_whitespace() || (lit(usual) && *character == '\0') {
            odd += count;
        }
        if lit(usual)
            && let Some(other) = seen.insert(usual, *character)
        {
            return Some(format!("{character:?} looks like {other:?}"));
        }
    }
    (odd > 1).then(|| format!("{odd} cells look wrong"))
}

/// Logs in on the screen, where a prompt waits.
async fn log_in(browser: &mut Browser, cloud: &Program, id: i64) {
    browser.click("#panel-screen canvas").await;
    browser.type_keys("root\n").await;
    screen_shows(browser, cloud, id, "Password:").await;
    browser.type_keys(&format!("{PASSWORD}\n")).await;
    screen_shows(browser, cloud, id, ":~# ").await;
}

#[tokio::test]
async fn a_guest_is_worked_on_by_its_console_in_a_browser() {
    let (mut cloud, id) = cloud_with_guest(&[("BULUT_NETWORKING", "user")]).await;
    let mut browser = Browser::start(&[], json!({"viewport": {"width": 1280, "height": 800}})).await;
    let url = link(&cloud, id).await;
    assert_eq!(browser.goto(&url).await, 200);
    browser.until("the screen is connected", SHORTLY, CONNECTED).await;
    screen_shows(&mut browser, &cloud, id, "login:").await;
    browser.picture("console-screen").await;

    typed_text_arrives(&mut browser, &cloud, id).await;
    pasted_text_arrives(&mut browser, &cloud, id).await;
    the_serial_line_talks(&mut browser).await;
    assert_eq!(browser.trouble().await, Vec::<String>::new());
    ctrl_alt_del_arrives(&mut browser, &cloud, id).await;
    the_keyboard_alone_is_enough(&mut browser).await;

    browser.click("#reconnect").await;
    browser.until("the screen is connected again", SHORTLY, CONNECTED).await;
    screen_shows(&mut browser, &cloud, id, "login:").await;
    browser.call("page.reload", json!([])).await;
    browser.until("the page is loaded again", SHORTLY, CONNECTED).await;
    the_link_is_used_up(&mut browser, &url).await;

    cloud.stop();
    shows(&mut browser, "a lost connection", SHORTLY, "connecting again").await;
    browser.picture("console-lost").await;
    cloud.run().await;
    browser.until("the session outlives the program", SHORTLY, CONNECTED).await;
    assert_eq!(complaints(&browser.trouble().await), Vec::<String>::new());

    a_server_that_is_off_has_last_words(&mut browser, &cloud, id).await;
    cloud.destroy(id).await;
    shows(&mut browser, "the end of the server", Duration::from_secs(10), "does not exist any more").await;
    browser.picture("console-over").await;

    let log = cloud.log();
    let token = url.rsplit('/').next().unwrap();
    for secret in [token, PASSWORD, "typed-by-hand", "pasted-by-key", "serial-$((", "bulut_console"] {
        assert!(!log.contains(secret), "the log tells {secret}");
    }
    assert!(log.contains("console opened"), "it tells that, and of what: {log}");
    browser.close().await;
}

/// What scripts and policies complained about. A browser also notes each answer that was a refusal and each server that
/// it did not reach, and noVNC that a page came without TLS: all of that was asked for here.
fn complaints(trouble: &[String]) -> Vec<String> {
    let expected = ["WebSocket connection", "Failed to load resource", "requires a secure context"];
    trouble.iter().filter(|text| !expected.iter().any(|known| text.contains(known))).cloned().collect()
}

async fn typed_text_arrives(browser: &mut Browser, cloud: &Program, id: i64) {
    log_in(browser, cloud, id).await;
    browser.type_keys("echo typed-by-hand > /root/Mark_1\n").await;
    eventually("the file that was made on the screen", SHORTLY, async || {
        (cloud.says(id, "cat /root/Mark_1", SHORTLY).await == "typed-by-hand").then_some(())
    })
    .await;
    screen_shows(browser, cloud, id, "Mark_1").await;
}

async fn pasted_text_arrives(browser: &mut Browser, cloud: &Program, id: i64) {
    // Every sign of the keyboard, and some that it has not.
    let signs = r##"~!@#$%^&*()_+`1234567890-={}|[]\:";<>?,./ aZbYcX"##;
    let text = format!("cat > /root/Paste <<'END'\npasted-by-key {signs}\nsecond line ç€\nEND\n");
    browser.click("#paste").await;
    browser.picture("console-paste").await;
    browser.call("page.fill", json!(["#paste-text", text])).await;
    browser.click("#paste-go").await;
    shows(browser, "what has no key is told", SHORTLY, "2 characters have no key").await;
    let wanted = format!("pasted-by-key {signs}\nsecond line");
    eventually("the text that was pasted on the screen", SHORTLY, async || {
        (cloud.says(id, "cat /root/Paste", SHORTLY).await == wanted).then_some(())
    })
    .await;
}

async fn the_serial_line_talks(browser: &mut Browser) {
    browser.click("#tab-serial").await;
    browser.until("the serial line is connected", SHORTLY, CONNECTED).await;
    browser.until("the boot log", SHORTLY, &format!("{TERMINAL}.includes('login:')")).await;
    browser.picture("console-serial-log").await;
    browser.click("#panel-serial .xterm").await;
    browser.type_keys("root\n").await;
    browser
        .until("the question for the password", SHORTLY, &format!("{TERMINAL}.includes('Password:')"))
        .await;
    browser.type_keys(&format!("{PASSWORD}\n")).await;
    browser.until("a shell", SHORTLY, &format!("{TERMINAL}.includes(':~#')")).await;
    browser.type_keys("echo serial-$((40+2))\n").await;
    browser.until("a command's output", SHORTLY, &format!("{TERMINAL}.includes('serial-42')")).await;
    browser.picture("console-serial").await;
}

async fn ctrl_alt_del_arrives(browser: &mut Browser, cloud: &Program, id: i64) {
    let before = cloud.says(id, BOOT_ID, SHORTLY).await;
    browser.click("#tab-screen").await;
    browser.until("the screen is connected", SHORTLY, CONNECTED).await;
    browser.click("#ctrl-alt-del").await;
    eventually("the guest boots anew", BOOT, async || {
        let boot = cloud.says(id, BOOT_ID, BOOT).await;
        (boot.len() == before.len() && boot != before).then_some(())
    })
    .await;
    screen_shows(browser, cloud, id, "login:").await;
}

/// From the screen, which takes all keys, into the bar and through the tabs.
async fn the_keyboard_alone_is_enough(browser: &mut Browser) {
    let focus = "document.activeElement.id || document.activeElement.tagName";
    browser.click("#panel-screen canvas").await;
    assert_eq!(browser.evaluate(focus).await, "CANVAS");
    browser.press("Tab").await;
    assert_eq!(browser.evaluate(focus).await, "CANVAS", "the guest has its own use for this key");
    browser.press("Control+Alt+Shift+KeyM").await;
    assert_eq!(browser.evaluate(focus).await, "tab-screen");
    browser.press("ArrowRight").await;
    assert_eq!(browser.evaluate(focus).await, "tab-serial");
    assert_eq!(browser.evaluate("document.querySelector('#panel-serial').hidden").await, false);
    browser.press("ArrowRight").await;
    assert_eq!(browser.evaluate(focus).await, "tab-screen");
    browser.press("Tab").await;
    assert_eq!(browser.evaluate(focus).await, "ctrl-alt-del");
}

async fn the_link_is_used_up(browser: &mut Browser, url: &str) {
    // Somebody else who has got hold of it, in the dark scheme and on a telephone.
    let phone = json!({"viewport": {"width": 390, "height": 700}, "colorScheme": "dark"});
    let mut other = Browser::start(&[], phone).await;
    assert_eq!(other.goto(url).await, 410);
    assert!(other.text("main").await.contains("has been used already"));
    other.picture("console-used").await;
    // The session's own page helps them no more.
    let view = url.rsplit_once('/').unwrap().0.to_owned() + "/view";
    assert_eq!(other.goto(&view).await, 200);
    shows(&mut other, "no session", SHORTLY, "There is no such console session").await;
    other.close().await;
    // And not even the browser that has it opens the link a second time; its session goes on.
    assert_eq!(browser.goto(url).await, 410);
    assert_eq!(browser.goto(&view).await, 200);
    browser.until("the session goes on", SHORTLY, CONNECTED).await;
}

async fn a_server_that_is_off_has_last_words(browser: &mut Browser, cloud: &Program, id: i64) {
    cloud.says(id, "echo these-are-my-last-words > /dev/ttyS0", SHORTLY).await;
    cloud.data("POST", &format!("/v1/server/{id}/stop"), &[]).await;
    shows(browser, "the server is off", SHORTLY, "web1 is off").await;
    browser.picture("console-off").await;
    browser.click("#tab-serial").await;
    let said = format!("{TERMINAL}.includes('these-are-my-last-words')");
    browser.until("the last words", SHORTLY, &said).await;
    browser.picture("console-off-serial").await;
    assert_eq!(browser.evaluate("document.querySelector('#paste').disabled").await, true);
    browser.click("#tab-screen").await;
    cloud.state_is(id, "Stopped").await;
    cloud.succeeded(&cloud.data("POST", &format!("/v1/server/{id}/start"), &[]).await).await;
    browser.until("the screen comes back by itself", SHORTLY, CONNECTED).await;
    cloud.says(id, "true", BOOT).await;
    screen_shows(browser, cloud, id, "login:").await;
}

/// A reverse proxy that shows the cloud below `/cloud/` of its own host. What it passes on says so only in the headers
/// that proxies add.
struct Proxy {
    at: SocketAddr,
    behind: Arc<OnceLock<String>>,
}

impl Proxy {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (at, behind) = (listener.local_addr().unwrap(), Arc::new(OnceLock::<String>::new()));
        let upstream = Arc::clone(&behind);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let upstream = upstream.get().cloned().unwrap_or_default();
                // A connection that breaks is the browser's to make anew.
                tokio::spawn(async move { drop(Self::pass(client, &upstream).await) });
            }
        });
        Self { at, behind }
    }

    /// One request for each connection, but for websockets, which are passed on for as long as they last.
    async fn pass(client: TcpStream, upstream: &str) -> std::io::Result<()> {
        let mut client = BufReader::new(client);
        let mut request = String::new();
        client.read_line(&mut request).await?;
        let Some(request) = request.strip_prefix("GET /cloud/") else {
            return client
                .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .await;
        };
        let mut head = format!("GET /{request}");
        let mut upgrades = false;
        loop {
            let mut line = String::new();
            client.read_line(&mut line).await?;
            let name = line.split(':').next().unwrap_or_default().to_lowercase();
            upgrades |= name == "upgrade";
            match name.as_str() {
                "host" => {
                    head += &line.replace("Host:", "X-Forwarded-Host:").replace("host:", "X-Forwarded-Host:")
                }
                "connection" => {}
                _ if line.trim().is_empty() => break,
                _ => head += &line,
            }
        }
        let connection = if upgrades { "Upgrade" } else { "close" };
        head += &format!("Host: {upstream}\r\nConnection: {connection}\r\nX-Forwarded-Proto: http\r\n\r\n");
        let mut server = TcpStream::connect(upstream).await?;
        server.write_all(head.as_bytes()).await?;
        tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
    }
}

#[tokio::test]
async fn a_guests_console_works_behind_a_reverse_proxy_under_a_path() {
    let proxy = Proxy::start().await;
    // Another host than the cloud knows of itself, and one without TLS, where browsers offer pages less.
    let public = format!("http://cloud.example.com:{}/cloud", proxy.at.port());
    let settings =
        [("BULUT_NETWORKING", "user"), ("BULUT_PUBLIC_URL", &public), ("BULUT_TRUSTED_PROXIES", "127.0.0.1")];
    let (cloud, id) = cloud_with_guest(&settings).await;
    proxy.behind.set(cloud.url().trim_start_matches("http://").to_owned()).unwrap();
    let to_us = "--host-resolver-rules=MAP cloud.example.com 127.0.0.1";
    let phone = json!({"viewport": {"width": 390, "height": 760}, "colorScheme": "dark"});
    let mut browser = Browser::start(&[to_us], phone).await;
    let url = link(&cloud, id).await;
    assert!(url.starts_with(&format!("{public}/console/")), "{url}");
    assert_eq!(browser.goto(&url).await, 200);
    browser.until("the screen is connected", SHORTLY, CONNECTED).await;
    screen_shows(&mut browser, &cloud, id, "login:").await;
    browser.picture("console-narrow").await;
    let cookies = browser.call("context.cookies", json!([])).await;
    let page: reqwest::Url = url.parse().unwrap();
    let (directory, _) = page.path().rsplit_once('/').unwrap();
    assert!(directory.starts_with("/cloud/console/"), "{directory}");
    assert_eq!(cookies.as_array().unwrap().len(), 1, "{cookies}");
    assert_eq!(cookies[0]["path"], directory, "{cookies}");
    assert_eq!((&cookies[0]["httpOnly"], &cookies[0]["sameSite"]), (&json!(true), &json!("Strict")));

    log_in(&mut browser, &cloud, id).await;
    browser.click("#tab-serial").await;
    browser.until("the boot log", SHORTLY, &format!("{TERMINAL}.includes('login:')")).await;
    browser.picture("console-narrow-serial").await;
    // Over a proxy too, the page is told when the session ends.
    cloud.destroy(id).await;
    shows(&mut browser, "the end of the server", Duration::from_secs(10), "does not exist any more").await;
    assert_eq!(browser.goto(&url).await, 410);
    browser.picture("console-narrow-used").await;
    assert_eq!(complaints(&browser.trouble().await), Vec::<String>::new());
    browser.close().await;
}
