//! Tests of the page as a whole and of its parts.

use super::axis::{Axis, Kind, drawable};
use super::chart::thin;
use super::samples::{base64, shown_size};
use super::text::{compact, fixed, grouped, number, percent};
use super::*;
use std::collections::BTreeSet;

fn empty() -> Report {
    Report { title: "Run".to_string(), ..Report::default() }
}

fn task(name: &str, value: f64, baseline: f64) -> TaskRow {
    let (metric, path) = ("top1".to_string(), "st tt|s".to_string());
    TaskRow { name: name.to_string(), metric, value, baseline, params: 1, macs: 1, path }
}

fn chart(log_y: bool, points: &[(f64, f64)], reference: Option<f64>) -> Chart {
    let [title, x_label, y_label] = ["Loss", "step", "nats"].map(str::to_string);
    let series = vec![Series {
        name: "a".to_string(),
        points: points.to_vec(),
        reference,
        ..Series::default()
    }];
    Chart { title, x_label, y_label, log_y, series }
}

fn sample(title: &str, right: Option<bool>) -> Sample {
    Sample { png: b"abc".to_vec(), title: title.to_string(), note: "0.9".to_string(), right }
}

/// A report in which every text is `name`.
fn named(name: &str) -> Report {
    let text = || name.to_string();
    let mut line = chart(false, &[(0.0, 1.0), (1.0, 2.0)], Some(1.5));
    (line.title, line.x_label, line.y_label) = (text(), text(), text());
    line.series[0].name = text();
    let shown = Sample { note: text(), ..sample(name, Some(true)) };
    Report {
        title: text(),
        facts: vec![(text(), text())],
        tasks: vec![TaskRow { metric: text(), path: text(), ..task(name, 0.5, 0.4) }],
        curves: vec![line],
        routing: Routing { sites: vec![text()], rows: vec![(text(), vec![0.7])] },
        params: ParamTable { columns: vec![text()], rows: vec![(text(), vec![1])] },
        tables: vec![TextTable {
            title: text(),
            note: text(),
            columns: vec![text()],
            rows: vec![vec![text()]],
        }],
        samples: vec![Samples { task: text(), caption: text(), rows: vec![vec![shown]] }],
    }
}

fn ticks(low: f64, high: f64, kind: Kind) -> Vec<String> {
    let axis = Axis::new([low, high].into_iter(), kind).unwrap();
    axis.ticks.into_iter().map(|tick| tick.label).collect()
}

/// The points of the only line of a page.
fn polyline(html: &str) -> Vec<&str> {
    let (_, rest) = html.split_once("<polyline class=\"line c0 d0\" points=\"").unwrap();
    rest.split_once('"').unwrap().0.split(' ').collect()
}

/// Every kind of tag with the names of its attributes, read as a browser reads them.
fn tags(html: &str) -> BTreeSet<String> {
    let mut tags = BTreeSet::new();
    let (_, body) = html.split_once("</head>").unwrap();
    for rest in body.split('<').skip(1) {
        let (mut tag, mut quoted) = (String::new(), false);
        for char in rest.chars() {
            match char {
                '"' => quoted = !quoted,
                '>' if !quoted => break,
                _ if !quoted => tag.push(char),
                _ => {}
            }
        }
        assert!(!quoted, "an attribute without end in <{rest}");
        tags.insert(tag);
    }
    tags
}

#[test]
fn no_text_can_leave_its_place() {
    let attack = "st\"'><script>alert(1)</script> <img src=x onerror=y>|&lt;\0";
    let (harmless, attacked) =
        (named("st | a name that means no harm").html(), named(attack).html());
    assert_eq!(tags(&attacked), tags(&harmless));
    let escaped = "st&quot;&#39;&gt;&lt;script&gt;alert(1)&lt;/script&gt; &lt;img src=x onerror=y\
                   &gt;|&amp;lt;\u{FFFD}";
    assert!(attacked.contains(&format!("<h1>{escaped}</h1>")));
    assert!(attacked.contains(&format!("alt=\"{escaped}\"")));
}

#[test]
fn the_page_loads_nothing() {
    let html = named("x").html();
    for outside in ["http://", "https://", "<script", "<link", "@import", "url("] {
        assert!(!html.contains(outside), "{outside}");
    }
    assert!(html.contains("default-src 'none'"));
}

#[test]
fn empty_sections_are_left_out() {
    let headings = |report: &Report| report.html().matches("<h2>").count();
    assert_eq!(headings(&named("x")), 6);
    let bare = empty();
    assert_eq!(headings(&bare), 0);
    assert!(!bare.html().contains("<dl>"));
    let nothing = Report {
        curves: vec![chart(false, &[(f64::NAN, 1.0)], Some(1.0))],
        samples: vec![Samples { task: String::new(), caption: String::new(), rows: vec![vec![]] }],
        ..empty()
    };
    assert_eq!(headings(&nothing), 0);
}

#[test]
fn sections_stand_in_order() {
    let html = named("x").html();
    let places =
        ["<dl>", "Results", "Curves", "Router", "Parameters", "x", "Samples"].map(|part| {
            let mark = if part == "<dl>" { part.to_string() } else { format!("<h2>{part}</h2>") };
            html.find(&mark).unwrap()
        });
    assert!(places.is_sorted());
}

#[test]
fn only_points_that_have_a_place_are_drawn() {
    let points = [
        (0.0, 4.0),
        (1.0, f64::NAN),
        (2.0, f64::INFINITY),
        (f64::NEG_INFINITY, 1.0),
        (3.0, 1e300),
        (4.0, 0.0),
        (5.0, 2.0),
    ];
    let page = |log_y| Report { curves: vec![chart(log_y, &points, None)], ..empty() }.html();
    assert_eq!(polyline(&page(false)).len(), 3);
    assert_eq!(polyline(&page(true)).len(), 2, "0 has no logarithm");
    for word in ["NaN", "inf"] {
        assert!(!page(false).contains(word) && !page(true).contains(word), "{word}");
    }
}

#[test]
fn a_line_runs_from_left_to_right_and_its_ends_tell_their_values() {
    let points = [(10.0, 3.0), (30.0, 1.25), (20.0, 2.0)];
    let html = Report { curves: vec![chart(false, &points, Some(0.5))], ..empty() }.html();
    let line = polyline(&html);
    let x: Vec<f64> =
        line.iter().map(|point| point.split_once(',').unwrap().0.parse().unwrap()).collect();
    assert!(x.is_sorted() && x.len() == 3, "{x:?}");
    for title in ["a: 3 at step 10", "a: 1.25 at step 30", "a, baseline: 0.5"] {
        assert!(html.contains(&format!("<title>{title}</title>")), "{title}");
    }
}

#[test]
fn an_area_keeps_the_order_of_its_corners_and_lies_behind_dots() {
    let mut all = chart(false, &[(0.0, 1.0), (10.0, 2.0)], None);
    let series = |marks, points: &[(f64, f64)]| Series {
        marks,
        name: format!("{marks:?}"),
        points: points.to_vec(),
        reference: None,
    };
    all.series.push(series(Marks::Dots, &[(5.0, 1.5)]));
    all.series.push(series(Marks::Area, &[(0.0, 0.0), (10.0, 1.0), (10.0, 3.0), (0.0, 2.0)]));
    let html = Report { curves: vec![all], ..empty() }.html();
    let (before, rest) = html.split_once("<polygon class=\"area c2 d0\" points=\"").unwrap();
    let corners: Vec<f64> = rest
        .split_once('"')
        .unwrap()
        .0
        .split(' ')
        .map(|point| point.split_once(',').unwrap().0.parse().unwrap())
        .collect();
    let [left, right] = [corners[0], corners[1]];
    assert!(left < right && corners == [left, right, right, left], "{corners:?}");
    assert!(!before.contains("<circle class=\"dot") && rest.contains("<circle class=\"dot c1"));
    assert!(html.contains("<path class=\"area c2 d0\"") && html.contains("<span>Area</span>"));
}

#[test]
fn ticks_are_round() {
    for (low, high, kind, expected) in [
        (20.0, 761.0, Kind::Tight, "0 200 400 600"),
        (0.03, 0.91, Kind::Rounded, "0 0.2 0.4 0.6 0.8 1"),
        (-0.3, 0.2, Kind::Rounded, "−0.3 −0.2 −0.1 0 0.1 0.2"),
        (296.8, 321.1, Kind::Rounded, "295 300 305 310 315 320 325"),
        (0.0, 43_000.0, Kind::Tight, "0 10,000 20,000 30,000 40,000"),
        (0.5, 0.5, Kind::Rounded, "0.44 0.46 0.48 0.5 0.52 0.54 0.56"),
        (1.0, 1.0 + 1e-15, Kind::Rounded, "0.9 0.95 1 1.05 1.1"),
        (0.0, 0.0, Kind::Rounded, "−1 −0.5 0 0.5 1"),
        (1e15, 1e15 + 4e6, Kind::Tight, "1e15 1.000000001e15 1.000000002e15"),
    ] {
        let found = ticks(low, high, kind).join(" ");
        assert!(found.starts_with(expected), "{low} to {high}: {found}");
    }
}

#[test]
fn log_ticks_are_powers_and_their_parts() {
    for (low, high, expected) in [
        (0.35, 14.0, "0.2 0.5 1 2 5 10 20"),
        (4e-5, 0.002, "2e−5 5e−5 1e−4 2e−4 5e−4 0.001 0.002"),
        (0.001, 1000.0, "0.001 0.01 0.1 1 10 100 1,000"),
        (2e-9, 3e9, "1e−9 1e−6 0.001 1 1,000 1e6 1e9 1e12"),
        (12.4, 48.0, "10 20 30 40 50"),
        (1.3, 6.4, "2 4 6 8"),
        (0.7, 0.7, "0.6 0.65 0.7 0.75 0.8"),
    ] {
        assert_eq!(ticks(low, high, Kind::Log).join(" "), expected, "{low} to {high}");
    }
}

#[test]
fn values_keep_within_their_axis() {
    let extremes = [-9e99, -1.0, 0.0, 1e-300, 1e-99, 0.3, 1.0, 1e16, 9e99];
    for kind in [Kind::Tight, Kind::Rounded, Kind::Log] {
        for (index, &low) in extremes.iter().enumerate() {
            for &high in &extremes[index..] {
                let Some(axis) = Axis::new([low, high].into_iter(), kind) else { continue };
                assert!(axis.ticks.len() < 20, "{low} to {high}: {}", axis.ticks.len());
                let inside = |value| (-1e-6..=1.0 + 1e-6).contains(&axis.place(value));
                assert!(axis.ticks.iter().all(|tick| inside(tick.value)), "{low} to {high}");
                for value in [low, high].into_iter().filter(|&value| drawable(value, kind)) {
                    assert!(inside(value), "{low} to {high}: {value}");
                }
            }
        }
    }
}

#[test]
fn thinning_keeps_the_ends_and_the_mean() {
    let points: Vec<(f64, f64)> = (0..10_001).map(|x| (f64::from(x), f64::from(x % 2))).collect();
    let thinned = thin(&points, 400);
    assert_eq!(thinned.len(), 400);
    assert_eq!((thinned[0], thinned[399]), (points[0], points[10_000]));
    assert!(thinned[1..399].iter().all(|point| (point.1 - 0.5).abs() < 0.03));
    assert!(thinned.is_sorted_by(|a, b| a.0 < b.0));
    for few in [0, 1, 2, 400] {
        assert_eq!(thin(&points[..few], 400), points[..few]);
    }
}

#[test]
fn numbers_read_well() {
    for (value, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
        assert_eq!(grouped(value), expected);
    }
    for (value, expected) in [
        (999, "999"),
        (1000, "1.00 k"),
        (494_688, "495 k"),
        (999_499, "999 k"),
        (999_500, "1.00 M"),
        (9_994_000, "9.99 M"),
        (9_996_000, "10.0 M"),
        (99_940, "99.9 k"),
        (17_000_000_000, "17.0 G"),
        (u64::MAX, "18.4 E"),
    ] {
        assert_eq!(compact(value), expected);
    }
    for (value, expected) in [
        (0.0, "0"),
        (0.350_217, "0.3502"),
        (-12.5, "−12.5"),
        (1234.56, "1,235"),
        (1_000_000.0, "1,000,000"),
        (4.0028e-5, "4.003e−5"),
        (-2.5e20, "−2.5e20"),
        (f64::NAN, "–"),
    ] {
        assert_eq!(number(value), expected);
    }
    assert_eq!([fixed(-0.004, 2), fixed(1200.5, 2)], ["0", "1,200.5"]);
    assert_eq!([percent(0.7274), percent(f64::NAN)], ["72.7 %", "–"]);
}

#[test]
fn results_say_which_is_higher() {
    let tasks = vec![
        task("up", 0.9, 0.8),
        task("down", 0.5, 0.8),
        task("even", 0.8, 0.8001),
        task("alone", 0.8, f64::NAN),
    ];
    let html = Report { tasks, ..empty() }.html();
    assert!(html.contains("1 of 3 tasks is above"), "a task without baseline does not count");
    for (name, cell) in [
        ("up", "above\">▲ +10.0"),
        ("down", "below\">▼ −30.0"),
        ("even", "equal\">= 0.0"),
        ("alone", "equal\">–"),
    ] {
        let (_, row) = html.split_once(&format!("<th scope=\"row\">{name}</th>")).unwrap();
        let (row, _) = row.split_once("</tr>").unwrap();
        assert!(row.contains(&format!("<td class=\"n {cell}</td>")), "{row}");
    }
    let path = "<span><i class=\"site s\">s</i><i class=\"site t\">t</i></span> <span>";
    assert!(html.contains(path));
}

#[test]
fn the_heat_map_marks_the_chosen_expert() {
    let sites = ["0 attn", "0 ffn", "norm", "more"].map(str::to_string).to_vec();
    let rows = vec![("a".to_string(), vec![0.5, 0.51, f32::NAN])];
    let html = Report { routing: Routing { sites, rows }, ..empty() }.html();
    let (_, cells) = html.split_once("<th scope=\"row\">a</th>").unwrap();
    let (cells, _) = cells.split_once("</tr>").unwrap();
    let cell = |share, letter, strength| {
        format!(
            "<td class=\"{letter}\" style=\"--a:{strength}\">{share}\
             <i class=\"site {letter}\">{letter}</i></td>"
        )
    };
    let even = cell("0.50", 't', "0.00");
    assert_eq!(cells, even + &cell("0.51", 's', "0.01") + "<td>–</td><td>–</td>");
    assert!(html.contains("0<br>attn"));
}

#[test]
fn the_last_row_of_parameters_is_the_total() {
    let rows = vec![("a".to_string(), vec![1_234_567]), ("all".to_string(), vec![17_000_000_000])];
    let params = ParamTable { columns: vec!["backbone".to_string()], rows };
    let html = Report { params, ..empty() }.html();
    assert!(html.contains("<tr><th scope=\"row\">a</th><td class=\"n\">1,234,567</td></tr>"));
    assert!(html.contains("<tr class=\"total\"><th scope=\"row\">all</th>"));
    assert!(html.contains("17,000,000,000"));
}

#[test]
fn samples_are_marked_by_more_than_color() {
    let page = |row| {
        let samples = Samples { task: String::new(), caption: String::new(), rows: vec![row] };
        Report { samples: vec![samples], ..empty() }.html()
    };
    let html =
        page(vec![sample("query", None), sample("same", Some(true)), sample("other", Some(false))]);
    assert!(html.contains("cards matches"));
    assert_eq!((html.matches(">✓<").count(), html.matches(">✗<").count()), (1, 1));
    assert!(html.contains("card right") && html.contains("card wrong"));
    assert!(html.contains("src=\"data:image/png;base64,YWJj\""));
    assert!(
        !page(vec![sample("cat", Some(true)), sample("dog", Some(true))]).contains("cards matches")
    );
    assert!(!page(vec![sample("cat", None), sample("dog", None)]).contains("cards matches"));
}

#[test]
fn base64_is_that_of_rfc_4648() {
    for (bytes, expected) in [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ] {
        assert_eq!(base64(bytes.as_bytes()), expected);
    }
    assert_eq!(base64(&[0xfb, 0xff, 0xbf]), "+/+/");
}

#[test]
fn images_are_shown_at_a_sensible_size() {
    let png = |width: u32, height: u32| {
        [&[0; 16], &width.to_be_bytes()[..], &height.to_be_bytes()[..]].concat()
    };
    for (width, height, expected) in [
        (28, 28, (84, 84, true)),
        (32, 16, (96, 48, true)),
        (64, 96, (64, 96, false)),
        (192, 192, (96, 96, false)),
        // What is larger than thumbnails is to be looked at closely.
        (224, 448, (144, 288, false)),
        (200, 100, (200, 100, false)),
        (1, 5000, (1, 288, false)),
        (0, 0, (96, 96, false)),
        (u32::MAX, u32::MAX, (288, 288, false)),
    ] {
        assert_eq!(shown_size(&png(width, height)), expected);
    }
    assert_eq!(shown_size(b"short"), (96, 96, false));
}

#[test]
fn dots_are_all_drawn_and_not_joined() {
    let points: Vec<(f64, f64)> = (0..500).map(|i| (f64::from(i), f64::from(i % 7))).collect();
    let mut dots = chart(false, &points, None);
    dots.series[0].marks = Marks::Dots;
    let html = Report { curves: vec![dots], ..empty() }.html();
    assert_eq!(html.matches("<circle class=\"dot c0 d0\"").count(), points.len() + 1);
    assert!(!html.contains("polyline"));
}

#[test]
fn tables_of_texts_name_their_rows() {
    let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let table = TextTable {
        title: "Sizes".to_string(),
        note: "All of them.".to_string(),
        columns: texts(&["slice", "ms"]),
        rows: vec![texts(&["a", "1.5"]), texts(&["b", "2.5"])],
    };
    let html = Report { tables: vec![table], ..empty() }.html();
    assert!(html.contains("<h2>Sizes</h2>") && html.contains("All of them."));
    assert!(html.contains("<th scope=\"row\">b</th><td class=\"n\">2.5</td>"));
}
