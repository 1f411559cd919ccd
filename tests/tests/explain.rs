//! The page that explains a simulated run, in a real browser. `tests/browser.sh` installs what is missing and runs this.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use wattle_sim::explain::{Story, page};
use wattle_sim::plan::Plan;
use wattle_sim::world;
use wattle_tests::browser::Browser;

const WHY: &str = "needs Debian's chromium and chromium-driver: run tests/browser.sh";

fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Writes the page of a plan and gives its path and how many events it shows.
fn write_page(plan: &Plan, name: &str) -> (PathBuf, usize) {
    let (outcome, history) = world::record(plan);
    let reproduce = format!("wattle sim run {}", plan.seed);
    let story = Story { plan, outcome: &outcome, history: &history, reproduce: &reproduce };
    let path = place(name);
    let mut file = BufWriter::new(File::create(&path).expect("a file"));
    page(&story, &mut file).expect("the page is written");
    (path, history.records.len())
}

fn number(browser: &Browser, script: &str) -> f64 {
    let value = browser.script(script).expect("the script runs");
    value.as_f64().unwrap_or_else(|| panic!("{script}: {value}"))
}

fn text(browser: &Browser, selector: &str) -> String {
    let value =
        browser.script(&format!("return document.querySelector('{selector}').innerText")).expect("text");
    value.as_str().unwrap_or_default().to_owned()
}

/// Lets the page draw what is due.
fn frame(browser: &Browser) {
    browser.script("wattle.draw()").expect("the page draws");
    std::thread::sleep(Duration::from_millis(200));
}

fn assert_quiet(browser: &Browser, page: &Path) {
    let own = format!("file://{}", page.display());
    let (logged, asked) = browser.traffic(&own).expect("logs");
    assert!(logged.is_empty(), "the page logged {logged:?}");
    let others: Vec<_> = asked.iter().filter(|url| **url != own && !url.starts_with("data:")).collect();
    assert!(others.is_empty(), "the page asked for {others:?}");
    assert!(asked.contains(&own), "the log of requests works: {asked:?}");
}

/// A plan that fails: progress is owed before it is possible.
fn failing() -> Plan {
    let mut plan = Plan::generate(7);
    plan.progress_bound = 0;
    plan
}

#[test]
#[ignore = "needs a browser: run tests/browser.sh"]
fn a_failing_run_is_explained() {
    let (path, count) = write_page(&failing(), "failing.html");
    let browser = Browser::start(1500, 1000).expect(WHY);
    browser.open(&path).expect("the page opens");
    assert_eq!(number(&browser, "return wattle.count") as usize, count);
    assert!(text(&browser, "#verdict").starts_with("FAILED"));
    assert_eq!(text(&browser, "#reproduce"), "wattle sim run 7");
    frame(&browser);
    browser.screenshot(&place("failing-overview.png")).expect("a picture");

    browser.click("#to-failure").expect("there is a way to the failure");
    assert!(text(&browser, "#details").contains("no progress"), "{}", text(&browser, "#details"));

    clicking_shows_fields_and_causes(&browser);
    searching_finds_and_steps(&browser);
    zooming_changes_what_is_shown(&browser);
    filters_hide(&browser);
    let dark = json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
    browser.devtools("Emulation.setEmulatedMedia", &dark).expect("a dark page");
    frame(&browser);
    browser.screenshot(&place("failing-dark.png")).expect("a picture");
    assert_quiet(&browser, &path);
}

fn clicking_shows_fields_and_causes(browser: &Browser) {
    let point = browser
        .script(
            "const i = wattle.find('publish accepted').find((i) => wattle.kindOf(i) === 'publish accepted');
             const t = wattle.timeOf(i);
             wattle.select(-1); wattle.show(t - 2e6, t + 2e6); wattle.draw();
             const box = document.getElementById('diagram').getBoundingClientRect(), [x, y] = wattle.pointOf(i);
             return [box.left + x, box.top + y, i];",
        )
        .expect("there is an accepted publish");
    let [x, y, event] = [0, 1, 2].map(|at| point[at].as_f64().expect("a number"));
    browser.press(x, y).expect("a click");
    // Others may lie on top of it at the same moment: each further click selects the next.
    for _ in 0..8 {
        if number(browser, "return wattle.state.selected") == event {
            break;
        }
        browser.press(x, y).expect("a click");
    }
    assert_eq!(number(browser, "return wattle.state.selected"), event);
    let shown = text(browser, "#details");
    for expected in ["publish accepted", "accepted", "sequences", "Belongs to", "Caused by"] {
        assert!(shown.contains(expected), "{expected} is missing in {shown}");
    }
    frame(browser);
    browser.screenshot(&place("failing-causes.png")).expect("a picture");
    browser.click("#details .walk button").expect("a cause can be clicked");
    assert_eq!(browser.script("return wattle.kindOf(wattle.state.selected)").expect("a kind"), "command");
    browser.keys("#diagram", "e").expect("the key for the first effect");
    let back = browser.script("return wattle.causeOf(wattle.state.selected)").expect("a cause");
    assert!(back.as_i64() >= Some(0), "{back}");
}

fn searching_finds_and_steps(browser: &Browser) {
    browser.keys("#query", "delivery stream-0").expect("a query");
    std::thread::sleep(Duration::from_millis(400));
    let hits = number(browser, "return wattle.state.hits.length");
    assert!(hits > 1.0, "{hits}");
    assert_eq!(number(browser, "return wattle.find('delivery stream-0').length"), hits);
    browser.keys("#query", "\u{E007}").expect("Enter");
    let first = number(browser, "return wattle.state.selected");
    browser.click("#hit-after").expect("the next hit");
    let second = number(browser, "return wattle.state.selected");
    assert!(second > first || first == number(browser, "return wattle.state.hits.at(-1)"));
    assert!(text(browser, "#hits").contains(" of "), "{}", text(browser, "#hits"));
    browser.script("document.getElementById('query').value = ''; wattle.search('')").expect("cleared");
}

fn zooming_changes_what_is_shown(browser: &Browser) {
    let span = |browser: &Browser| number(browser, "return wattle.view.to - wattle.view.from");
    browser.click("#fit").expect("everything");
    let all = span(browser);
    browser.keys("#diagram", "+").expect("a key");
    let nearer = span(browser);
    assert!(nearer < all * 0.7, "{nearer} of {all}");
    let wheel = json!({ "type": "mouseWheel", "x": 600, "y": 500, "deltaX": 0, "deltaY": -240 });
    browser.devtools("Input.dispatchMouseEvent", &wheel).expect("the wheel turns");
    let nearest = span(browser);
    assert!(nearest < nearer, "{nearest} of {nearer}");
    browser.keys("#diagram", "0").expect("a key");
    assert_eq!(span(browser), all);
    browser.click("#axis-order").expect("the other axis");
    assert!(number(browser, "return wattle.view.to") < number(browser, "return wattle.count") * 1.1);
    browser.click("#axis-time").expect("the first axis");
}

fn filters_hide(browser: &Browser) {
    let marks =
        |browser: &Browser| number(browser, "wattle.fit(); wattle.draw(); return wattle.stats.touched");
    let before = marks(browser);
    browser.click("#legend .quick button:nth-child(3)").expect("a quick filter");
    assert!(marks(browser) < before);
    browser.click("#legend .quick button").expect("all again");
    assert_eq!(marks(browser), before);
}

/// Messages enough that the page shows at least so many events.
fn large(least: usize) -> (PathBuf, usize) {
    let mut plan = Plan::generate(238);
    loop {
        let (path, count) = write_page(&plan, "large.html");
        if count >= least {
            return (path, count);
        }
        for stream in &mut plan.streams {
            stream.publishers.iter_mut().for_each(|publisher| publisher.messages *= 2);
        }
    }
}

#[test]
#[ignore = "needs a browser: run tests/browser.sh"]
fn a_hundred_thousand_events_stay_usable() {
    let (path, count) = large(100_000);
    let browser = Browser::start(1500, 1000).expect(WHY);
    browser.open(&path).expect("the page opens");
    let loaded = number(&browser, "return performance.getEntriesByType('navigation')[0].loadEventEnd");
    // The middle of nine full redraws, and what the last of them looked at.
    let measure = |prepare: &str| -> (f64, f64) {
        let script = format!(
            "{prepare}; const times = [];
             for (let k = 0; k < 9; k++) {{ wattle.draw(); times.push(wattle.stats.milliseconds); }}
             return [times.sort((a, b) => a - b)[4], wattle.stats.touched];"
        );
        let measured: Value = browser.script(&script).expect("the page draws");
        (measured[0].as_f64().expect("a time"), measured[1].as_f64().expect("a count"))
    };
    let whole = measure("wattle.fit()");
    frame(&browser);
    browser.screenshot(&place("large-overview.png")).expect("a picture");
    let part = measure("const t = wattle.timeOf(wattle.count / 2 | 0); wattle.show(t - 4e7, t + 4e7)");
    frame(&browser);
    browser.screenshot(&place("large-zoomed.png")).expect("a picture");
    let begun = number(
        &browser,
        "const t = performance.now(); wattle.search('commit'); return performance.now() - t",
    );
    println!(
        "{count} events: loaded after {loaded:.0} ms; a redraw of everything takes {:.1} ms and looks at {} items, of a part {:.1} ms and {}; a search takes {begun:.0} ms",
        whole.0, whole.1, part.0, part.1
    );
    println!("pictures are in {}", env!("CARGO_TARGET_TMPDIR"));
    let all = number(&browser, "return wattle.count");
    assert!(whole.1 < all / 4.0, "an overview looks at {} of {all} items", whole.1);
    assert!(part.1 < all / 20.0, "a part looks at {} of {all} items", part.1);
    assert!(
        number(&browser, "return document.querySelectorAll('*').length") < 2_000.0,
        "an element per event"
    );
    assert_quiet(&browser, &path);
}
