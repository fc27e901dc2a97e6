use super::*;

fn input(extra: &str) -> String {
    format!(r#"{{"inputs": [{{"name": "image", "shape": [1, 2], "datatype": "FP32"{extra}}}]}}"#)
}

fn data(text: &str, rest: &[u8]) -> Result<Data, Refusal> {
    let body = [text.as_bytes(), rest].concat();
    let (mut infer, rest) = parse(&body, Some(&text.len().to_string()))?;
    infer.inputs[0].data(&rest)
}

#[test]
fn numbers_are_read_nested_flat_and_binary() {
    let expected = Data::Floats(vec![1.5, -2.0]);
    assert_eq!(data(&input(r#", "data": [1.5, -2]"#), &[]).unwrap(), expected);
    assert_eq!(data(&input(r#", "data": [[[1.5], [-2]]]"#), &[]).unwrap(), expected);
    let bytes = [1.5_f32.to_le_bytes(), (-2.0_f32).to_le_bytes()].concat();
    let binary = input(r#", "parameters": {"binary_data_size": 8}"#);
    assert_eq!(data(&binary, &bytes).unwrap(), expected);
}

#[test]
fn files_are_read_with_their_lengths() {
    let told = |size| {
        format!(
            r#"{{"inputs": [{{"name": "image", "shape": [2], "datatype": "BYTES", "parameters": {{"binary_data_size": {size}}}}}]}}"#
        )
    };
    let bytes = [&[1, 0, 0, 0, 7][..], &[2, 0, 0, 0, 8, 9]].concat();
    assert_eq!(data(&told(11), &bytes).unwrap(), Data::Files(vec![vec![7], vec![8, 9]]));
    for cut in [1, 4, 6, 10] {
        assert!(matches!(data(&told(cut), &bytes[..cut]), Err(Refusal::Request(_))), "{cut}");
    }
    // A length above all that follows.
    assert!(data(&told(4), &[255; 4]).is_err());
}

#[test]
fn wrong_requests_say_what_is_wrong() {
    let huge = input(r#", "data": [1]"#).replace("[1, 2]", "[18446744073709551615, 2]");
    let deep = input(&format!(r#", "data": {}"#, "[".repeat(100_000)));
    for (text, rest, said) in [
        ("{", &[][..], "JSON"),
        (r#"{"inputs": 3}"#, &[], "JSON"),
        (&input(r#", "data": [1]"#), &[], "shape [1, 2] with 1 values"),
        (&input(r#", "data": ["a", "b"]"#), &[], "expected numbers"),
        (&input(r#", "data": [1, 2]"#), &[0; 8], "no input is binary"),
        (&input(""), &[], "data is missing"),
        (&input(r#", "parameters": {"binary_data_size": 9}"#), &[0; 9], "with 9 bytes"),
        (&input(r#", "parameters": {"binary_data_size": 8}"#), &[0; 7], "but 7 bytes follow"),
        (&input(r#", "parameters": {"shared_memory_region": "x"}"#), &[], "shared memory"),
        (&huge, &[], "shape"),
        (&huge.replace("18446744073709551615", "-1"), &[], "JSON"),
        (&deep, &[], "recursion"),
    ] {
        match data(text, rest) {
            Err(Refusal::Request(message)) => assert!(message.contains(said), "{said}: {message}"),
            other => panic!("{said}: {other:?}"),
        }
    }
    for header in ["99", "-1", "x", "18446744073709551616"] {
        assert!(matches!(parse(b"{}", Some(header)), Err(Refusal::Request(_))), "{header}");
    }
}

#[test]
fn answers_hold_json_and_binary_outputs() {
    let told = |name, binary| Told { name, shape: vec![1, 2], values: &[0.1, 3.0], binary };
    let (body, length) = answer("m", Some("7"), &[told("a", true), told("b", false)]).unwrap();
    let (text, rest) = body.split_at(length.unwrap());
    let text: Value = serde_json::from_slice(text).unwrap();
    assert_eq!(text["id"], "7");
    assert_eq!(text["outputs"][0]["parameters"]["binary_data_size"], 8);
    assert_eq!(text["outputs"][0]["data"], Value::Null);
    assert_eq!(text["outputs"][1]["data"].to_string(), "[0.1,3.0]");
    assert_eq!(floats(rest), [0.1, 3.0]);
    let nan = Told { name: "a", shape: vec![1], values: &[f32::NAN], binary: false };
    assert!(matches!(answer("m", None, &[nan]), Err(Refusal::Failed(_))));
}
