//! The page in a real browser, driven by WebDriver (<https://www.w3.org/TR/webdriver2/>), where `chromedriver` is installed
//! (Debian: `apt install chromium chromium-driver`). Where it is not, the tests say so and pass.
//!
//! With `RESEMBLED_SCREENSHOTS=DIR`, what it looked like is kept there.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use data_encoding::BASE64;
use resembled::proto;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::http::send;
use super::{Window, start, start_with_words};
use crate::pictures;
use crate::world::{DEADLINE, World};

/// A browser with one page. Dropping it ends both.
struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: TempDir,
}

impl Browser {
    /// Starts one of this size, in pixels; `None`, aloud, where none is installed.
    fn start(width: u32, height: u32) -> Option<Self> {
        let driver = Command::new("chromedriver")
            .args(["--port=0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut driver) = driver else {
            eprintln!(
                "skipped: chromedriver is not installed, so that the page was not looked at in a browser"
            );
            return None;
        };
        let lines = BufReader::new(driver.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port = lines.into_iter().find_map(|line| {
            let (_, port) = line.split_once("successfully on port ")?;
            port.trim_end_matches('.').parse().ok()
        });
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Self { driver, port: port.unwrap(), session: String::new(), _profile: profile };
        let args = json!([
            "--headless=new",
            // In containers, where tests often run as root.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            format!("--user-data-dir={}", browser._profile.path().display()),
            format!("--window-size={width},{height}"),
        ]);
        let wanted = json!({ "browserName": "chrome", "goog:chromeOptions": { "args": args },
            "goog:loggingPrefs": { "browser": "ALL" } });
        let made = browser.tell("POST", "/session", &json!({ "capabilities": { "alwaysMatch": wanted } }));
        browser.session = made["sessionId"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
        Some(browser)
    }

    fn tell(&self, method: &str, path: &str, what: &Value) -> Value {
        let host = format!("127.0.0.1:{}", self.port);
        let body = if method == "POST" { what.to_string() } else { String::new() };
        let answer = send(self.port, &format!("{method} {path}"), &[("Host", &host)], body.as_bytes());
        let value = answer.json()["value"].clone();
        assert_eq!(answer.status, 200, "{path}: {value}");
        value
    }

    fn in_session(&self, method: &str, path: &str, what: &Value) -> Value {
        self.tell(method, &format!("/session/{}{path}", self.session), what)
    }

    fn open(&self, address: &str) {
        self.in_session("POST", "/url", &json!({ "url": address }));
    }

    /// Runs a script in the page; what it returns comes back.
    fn run(&self, script: &str) -> Value {
        self.in_session("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until a condition, written in JavaScript, holds.
    fn wait(&self, condition: &str) {
        let begun = Instant::now();
        while self.run(&format!("return Boolean({condition})")) != true {
            if begun.elapsed() > DEADLINE {
                let log = self.in_session("POST", "/se/log", &json!({ "type": "browser" }));
                let page = self.run("return document.body.innerText");
                panic!("never: {condition}\n{log}\n{page}");
            }
        }
    }

    /// Types keys at what has the focus.
    fn keys(&self, keys: &str) {
        let actions: Vec<Value> = keys
            .chars()
            .flat_map(|key| {
                [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })]
            })
            .collect();
        let input = json!({ "actions": [{ "type": "key", "id": "keys", "actions": actions }] });
        self.in_session("POST", "/actions", &input);
    }

    /// What the page complained of: errors of scripts, and what the policy forbade.
    fn complaints(&self) -> Vec<String> {
        let log = self.in_session("POST", "/se/log", &json!({ "type": "browser" }));
        let severe = log.as_array().unwrap().iter().filter(|entry| entry["level"] == "SEVERE");
        severe.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    fn emulate(&self, command: &str, params: Value) {
        let what = json!({ "cmd": command, "params": params });
        self.in_session("POST", "/goog/cdp/execute", &what);
    }

    /// Makes the page so wide, and light or dark.
    fn look(&self, width: u32, height: u32, scheme: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.emulate("Emulation.setDeviceMetricsOverride", size);
        let feature = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.emulate("Emulation.setEmulatedMedia", json!({ "features": feature }));
    }

    /// Keeps a picture of the page, where that is asked for.
    fn picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("RESEMBLED_SCREENSHOTS") else { return };
        let picture = self.in_session("GET", "/screenshot", &json!({}));
        let bytes = BASE64.decode(picture.as_str().unwrap().as_bytes()).unwrap();
        std::fs::write(Path::new(&folder).join(name).with_extension("png"), bytes).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            // It ends the browser. Whatever it answers: the test may be failing for that already.
            let host = format!("127.0.0.1:{}", self.port);
            let _ = send(self.port, &format!("DELETE /session/{}", self.session), &[("Host", &host)], b"");
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

const PHOTOS: &str = "[...document.querySelectorAll('#main .tile img')]";

/// All pictures in sight have come.
const ALL_THERE: &str = "document.querySelectorAll('#main .tile img').length > 0 && \
    [...document.querySelectorAll('#main .tile img')].every((image) => image.complete && image.naturalWidth > 0)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn photos_are_looked_at_and_searched_in_a_browser() {
    let Some(browser) = Browser::start(1280, 800) else { return };
    let world = World::new();
    let daemon = start(&world).await;
    let window = Window::open(&world, &[]);
    browser.open(&window.address);
    browser.wait(&format!("{PHOTOS}.length === 4"));
    browser.wait(ALL_THERE);
    let headings =
        browser.run("return [...document.querySelectorAll('.month h2')].map((h) => h.firstChild.data)");
    assert_eq!(headings, json!(["2024", "2019", "Without a date"]));
    assert_eq!(browser.run("return document.querySelectorAll('i i, main i').length"), 0, "a name is no HTML");
    browser.picture("photos-1280");

    // A photo, large; the next one; what it says of itself; and back to where one was.
    browser.keys("\u{e014}\u{e007}");
    browser.wait("document.getElementById('viewer').open");
    browser.keys("\u{e014}");
    browser.wait("document.querySelector('.about h2').textContent === 'b & <i>.png'");
    let facts = browser.run("return document.querySelector('.facts').innerText");
    assert!(
        facts.as_str().unwrap().contains("Kamera Eins") && facts.as_str().unwrap().contains("46.5"),
        "{facts}"
    );
    browser.wait("document.querySelector('.stage img').naturalWidth > 0");
    browser.picture("photo-1280");
    browser.keys("\u{e00c}");
    browser.wait("!document.getElementById('viewer').open && document.activeElement.closest('.tile')");

    // Photos like it, by a key; less of another, by one more.
    browser.keys("s");
    browser.wait(&format!("location.hash.startsWith('#/search') && {PHOTOS}.length === 3"));
    browser.wait("document.querySelector('.caption').textContent.length > 4");
    browser.keys("\u{e014}-");
    browser
        .wait("document.querySelectorAll('.example').length === 2 && document.querySelector('.example.not')");
    browser.run("history.back()");
    browser.wait("document.querySelectorAll('.example').length === 1");

    // A picture that is dropped.
    let bytes = BASE64.encode(&pictures::png(1));
    browser.run(&format!(
        "const bytes = Uint8Array.from(atob('{bytes}'), (c) => c.charCodeAt(0));
         const data = new DataTransfer();
         data.items.add(new File([bytes], 'dropped.png', {{ type: 'image/png' }}));
         dispatchEvent(new DragEvent('drop', {{ dataTransfer: data, bubbles: true, cancelable: true }}));"
    ));
    browser.wait(&format!(
        "{PHOTOS}.length === 4 && document.querySelector('.caption').textContent.includes('same')"
    ));
    assert!(browser.run(&format!("return {PHOTOS}[0].alt")).as_str().unwrap().starts_with("a.png"));

    // A filter: the year, by its chip.
    browser.run("location.hash = '#/photos'");
    browser.wait(&format!("{PHOTOS}.length === 4"));
    browser.run("document.querySelector('.chip summary').click()");
    browser.wait("[...document.querySelectorAll('.menu button')].some((button) => button.textContent.startsWith('2019'))");
    browser.run("[...document.querySelectorAll('.menu button')].find((button) => button.textContent.startsWith('2019')).click()");
    browser.wait(&format!("{PHOTOS}.length === 1"));

    // What of a card is there.
    let card = world.path("card");
    pictures::write(&card.join("again.png"), 4);
    pictures::write(&card.join("new.png"), 99);
    browser.run("location.hash = '#/import'");
    browser.wait("document.activeElement?.id === 'folder'");
    browser.keys("~/card\u{e007}");
    browser.wait("document.querySelectorAll('.rows li').length === 2 && main.innerText.includes('2 photos: 1 with a copy')");
    browser.picture("import-1280");

    // A word that this network does not know, and how the daemon is.
    browser.keys("/dalmatian\u{e007}");
    browser.wait("document.querySelector('.hint')?.textContent.length > 20");
    browser.run("location.hash = '#/state'");
    browser.wait("document.querySelector('main').innerText.includes('bad.jpg')");
    browser.run("[...document.querySelectorAll('main button')].find((button) => button.textContent === 'Pause').click()");
    browser.wait("document.querySelector('main').innerText.includes('Paused')");
    assert!(!daemon.status().await.pauses.is_empty());
    let complaints = browser.complaints();
    // What was refused above, and nothing else.
    assert!(
        complaints.iter().all(|line| line.contains("api/search") && line.contains("404")),
        "{complaints:#?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_go_to_the_trash_and_come_back_in_a_browser() {
    let Some(browser) = Browser::start(1280, 800) else { return };
    let world = World::new();
    for name in ["1.png", "again/1.png"] {
        pictures::write(&world.photo(name), 1);
    }
    let daemon = world.start().await;
    daemon.wait_for_files(2).await;
    let window = Window::open(&world, &[]);
    browser.open(&window.address);
    browser.wait(ALL_THERE);
    browser.run("location.hash = '#/duplicates'");
    browser.wait("document.querySelectorAll('.copy').length === 2 && document.querySelectorAll('.copy.goes').length === 1");
    // Opened there at once, it knows as well that the files are here.
    browser.run("location.reload()");
    browser.wait("document.querySelectorAll('.copy.goes button[aria-pressed=true]').length === 1");
    // Only the folder differs.
    assert_eq!(browser.run("return document.querySelectorAll('.copy:first-child .differs').length"), 1);
    browser.wait("document.querySelector('.doing .strong:enabled')");
    browser.run("document.querySelector('.doing .strong').click()");
    browser.wait("document.querySelector('#confirm').open");
    browser.keys("\u{e00c}");
    browser.wait("!document.querySelector('#confirm').open");
    assert!(["1.png", "again/1.png"].iter().all(|name| world.photo(name).exists()), "nothing goes unasked");
    browser.run("document.querySelector('.doing .strong').click()");
    browser.wait("document.querySelector('#confirm').open");
    browser.run("document.querySelector('#confirm .strong').click()");
    browser.wait(
        "document.querySelectorAll('.copy.gone').length === 1 && document.querySelector('.toast button')",
    );
    assert_eq!(["1.png", "again/1.png"].iter().filter(|name| world.photo(name).exists()).count(), 1);
    browser.run("document.querySelector('.toast button').click()");
    browser.wait("document.querySelectorAll('.copy.gone').length === 0");
    assert!(["1.png", "again/1.png"].iter().all(|name| world.photo(name).exists()));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_are_typed_and_clicked_in_a_browser() {
    let Some(browser) = Browser::start(1280, 800) else { return };
    let world = World::new();
    let _daemon = start_with_words(&world).await;
    let window = Window::open(&world, &[]);
    browser.open(&window.address);
    browser.wait("document.getElementById('words').placeholder.includes('dog')");
    browser.keys("/straw");
    browser.wait(
        "[...document.querySelectorAll('#known option')].some((option) => option.value === 'strawberry')",
    );
    browser.keys("berry\u{e007}");
    // It takes a moment until it is known what a new photo shows; then it is asked again.
    browser.wait(&format!("{PHOTOS}.length === 2 || (document.querySelector('.hint') && location.reload())"));
    let caption = browser.run("return document.querySelector('.caption').textContent");
    assert!(caption.as_str().unwrap().starts_with("strawberry 100 %"), "{caption}");
    assert!(
        browser.run("return document.querySelector('.said').innerText").as_str().unwrap().contains("2 of 3")
    );
    browser.picture("words-1280");

    browser.keys("/strawbery\u{e007}");
    browser.wait("document.querySelector('.hint h2')?.textContent === 'No such word'");
    assert!(
        browser
            .run("return document.querySelector('.hint').innerText")
            .as_str()
            .unwrap()
            .contains("strawberry")
    );

    // What a photo shows is a word to be pressed.
    browser.run("location.hash = '#/photos'");
    browser.wait(&format!("{PHOTOS}.length === 3"));
    browser.run(
        "[...document.querySelectorAll('.tile button')].find((b) => b.innerHTML.includes('green')).click()",
    );
    browser.wait("document.querySelector('.tags button')?.textContent === 'cucumber'");
    browser.run("document.querySelector('.tags button').click()");
    browser.wait(&format!("location.hash.includes('cucumber') && {PHOTOS}.length === 1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_fits_phones_and_wide_screens_in_light_and_dark() {
    let Some(browser) = Browser::start(1280, 800) else { return };
    let world = World::new();
    for seed in 10..60 {
        pictures::write(&world.photo(format!("{seed}.png")), seed);
    }
    pictures::write(&world.photo("again/10.png"), 10);
    let daemon = world.start().await;
    daemon.wait_for_files(51).await;
    let window = Window::open(&world, &[]);
    browser.open(&window.address);
    browser.wait(&format!("{PHOTOS}.length === 50"));
    browser.wait("document.querySelector('#main .tile img').complete");
    // What has been drawn stays where it is while pictures come. The share of the page that moved, as browsers count it.
    browser.run(
        "window.moved = 0;
         const add = (list) => list.getEntries().forEach((entry) => { window.moved += entry.value; });
         new PerformanceObserver(add).observe({ type: 'layout-shift', buffered: true });
         location.hash = '#/state'",
    );
    browser.wait("document.querySelector('main .card .rows li')");
    browser.run("location.hash = '#/photos'");
    browser.wait(&format!("{PHOTOS}.length === 50 && {PHOTOS}[0].naturalWidth > 0"));
    let moved = browser.run("return window.moved").as_f64().unwrap();
    assert!(moved < 0.1, "{moved} of the page moved");
    browser.run("document.querySelector('main').style.paddingTop = '400px'");
    browser.wait(&format!("window.moved > {moved}"));
    browser.run("document.querySelector('main').style.paddingTop = ''");
    for (width, height) in [(390, 844), (1280, 800), (2560, 1440)] {
        for scheme in ["light", "dark"] {
            browser.look(width, height, scheme);
            for view in ["photos", "duplicates", "import", "state"] {
                browser.run(&format!("location.hash = '#/{view}'"));
                browser.wait("document.querySelector('main h1') && document.querySelector('main .tile, main .group, main .folder, main .card .rows li')");
                let overflow = browser.run("return document.documentElement.scrollWidth - innerWidth");
                assert!(overflow.as_i64().unwrap() <= 0, "{view} at {width} is too wide by {overflow}");
                browser.picture(&format!("{view}-{width}-{scheme}"));
                let faint = browser.run(CONTRAST);
                assert_eq!(faint, json!([]), "too faint in {view} at {width}, {scheme}");
            }
        }
    }
    // What has no name says nothing to a screen reader.
    let nameless = browser.run(
        "return [...document.querySelectorAll('button, a, img, input, nav, dialog')]
            .filter((e) => !(e.textContent.trim() || e.ariaLabel || e.alt || e.labels?.length || e.hidden
                || e.getAttribute('alt') === '' || e.getAttribute('aria-labelledby')))
            .map((e) => e.outerHTML)",
    );
    assert_eq!(nameless, json!([]));
}

/// How long it takes to look at a library, and what the client needs for it: `RESEMBLED_PHOTOS=DIR cargo test --release --test it
/// window::browser::first_screen -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn first_screen_of_a_large_library() {
    let photos = std::env::var_os("RESEMBLED_PHOTOS").expect("RESEMBLED_PHOTOS names a folder of photos");
    let Some(browser) = Browser::start(1280, 900) else { return };
    let world = World::new();
    let daemon = world.start_with(&[&photos]).await;
    daemon
        .wait_for("all of it indexed", |status| status.state() == proto::State::Idle && status.photos > 0)
        .await;
    for thumbnails in ["cold", "warm"] {
        let begun = Instant::now();
        let window = Window::open(&world, &[]);
        browser.open(&window.address);
        browser.wait(
            "(() => {
                const inSight = (e) => { const b = e.getBoundingClientRect(); return b.height > 0 && b.bottom > 0 && b.top < innerHeight; };
                const images = [...document.querySelectorAll('#main .tile img')].filter(inSight);
                return images.length && images.every((i) => i.complete) && ![...document.querySelectorAll('.rest')].some(inSight);
            })()",
        );
        eprintln!("{thumbnails} thumbnails: the first screen after {:?}", begun.elapsed());
        browser
            .wait("(scrollBy(0, 900), scrollY + innerHeight >= document.documentElement.scrollHeight - 1)");
        let status = std::fs::read_to_string(format!("/proc/{}/status", window.child.id())).unwrap();
        let memory: Vec<&str> = status.lines().filter(|line| line.starts_with("VmHWM")).collect();
        eprintln!(
            "scrolled through {}: {memory:?}",
            browser.run("return document.querySelector('.bar > .number').textContent")
        );
    }
}

/// Lists text that has less contrast to its ground than WCAG AA asks for: 4.5 to 1, and 3 to 1 for large text.
const CONTRAST: &str = "
    const channels = (color) => (color.match(/[\\d.]+/g) ?? []).map(Number);
    const linear = (c) => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
    const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    const ground = (e) => {
        for (; e; e = e.parentElement) {
            const found = channels(getComputedStyle(e).backgroundColor);
            if (found.length === 3 || found[3] === 1) return found;
        }
        return channels(getComputedStyle(document.body).backgroundColor);
    };
    const faint = [];
    for (const e of document.querySelectorAll('body *')) {
        const says = [...e.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        if (!says || !e.checkVisibility() || e.closest('.tile, .toast, .skip, :disabled')) continue;
        const style = getComputedStyle(e);
        const [a, b] = [light(channels(style.color)), light(ground(e))].sort((a, b) => b - a);
        const ratio = (a + 0.05) / (b + 0.05);
        const size = parseFloat(style.fontSize), isLarge = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
        if (ratio < (isLarge ? 3 : 4.5)) faint.push(`${e.textContent.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
    }
    return faint;";
