use super::*;

const CODE: &str = "j111231321311311221231121111231000000";
const OTHER: &str = "j211231321311311221231121111231000000";

fn scored(text: &str) -> String {
    Benchmark::scored(&text.replace("CODE", CODE).replace("OTHER", OTHER)).unwrap_err().to_string()
}

#[test]
fn reads_networks_in_order_and_writes_them_back() {
    let text = r#"{"b": {"sop_rank": 3, "arch": "CODE", "veri_rank": 4.5},
        "a": {"arch": "OTHER", "veri_rank": 0, "sop_rank": 1}}"#;
    let text = text.replace("CODE", CODE).replace("OTHER", OTHER);
    let read = Benchmark::scored(&text).unwrap();
    assert_eq!((read.tasks.join(" "), read.keys.join(" ")), ("sop veri".into(), "b a".into()));
    assert_eq!(read.scores, [[3.0, 1.0], [4.5, 0.0]]);
    let written = read.with_scores(&read.tasks, &read.scores).to_string();
    assert_eq!(Benchmark::scored(&written).unwrap(), read);
    assert_eq!(Benchmark::unscored(&written).unwrap().slices, read.slices);
}

#[test]
fn what_is_no_benchmark_is_told() {
    assert!(scored("[1, 2]").contains("expected an object"));
    assert!(scored("{\"a\": 3}").contains("expected an object"));
    assert!(scored("{").starts_with("file = EOF"));
    assert_eq!(scored("{}"), "file = {}: must hold at least one network");
    assert_eq!(scored(r#"{"a": {"sop_rank": 1}}"#), "a = no `arch`: must have one");
    assert_eq!(
        scored(r#"{"a": {"arch": "j1", "sop_rank": 1}}"#),
        "a.arch = \"j1\": has 2 characters, must have 37"
    );
    let accuracy = scored(r#"{"a": {"arch": "CODE", "acc": 0.9}}"#);
    assert_eq!(accuracy, "a = acc: must be `arch` or a task's name and `_rank`");
    let none = scored(r#"{"a": {"arch": "CODE"}}"#);
    assert_eq!(none, "a = no score: must have a score for each task, such as `sop_rank`: 12");
}

#[test]
fn bad_scores_are_named() {
    let nan = scored(r#"{"a": {"arch": "CODE", "sop_rank": null}}"#);
    assert_eq!(nan, "a.sop_rank = null: must be a number");
    assert!(scored(r#"{"a": {"arch": "CODE", "sop_rank": NaN}}"#).starts_with("file = expected"));
    let two = |second: &str| {
        let first = r#"{"a": {"arch": "CODE", "sop_rank": 1}, "#;
        scored(&format!("{first}{second}}}"))
    };
    let missing = two(r#""b": {"arch": "OTHER"}"#);
    assert_eq!(missing, "b.sop_rank = nothing: must be a number, as for the networks before");
    let unknown = two(r#""b": {"arch": "OTHER", "veri_rank": 1}"#);
    assert_eq!(unknown, "unknown score `b.veri_rank`; known: sop_rank ");
    let key = two(r#""a": {"arch": "OTHER", "sop_rank": 1}"#);
    assert!(key.starts_with("file = key `a` stands twice"), "{key}");
    let repeats = two(r#""b": {"arch": "CODE", "sop_rank": 1}"#);
    assert_eq!(repeats, format!("b.arch = {CODE}: repeats `a`; every network must stand once"));
    let contradicts = two(r#""b": {"arch": "CODE", "sop_rank": 2}"#);
    assert!(contradicts.contains("contradicts `a`"), "{contradicts}");
}
