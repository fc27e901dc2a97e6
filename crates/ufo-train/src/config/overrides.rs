//! `--set KEY=VALUE`: one value of a configuration changed on the command line.

use anyhow::{Context, Result, bail};
use toml::{Table, Value};

/// Sets the value of a dotted key as `KEY=VALUE`; tables of a list, such as tasks, are found by name.
///
/// # Errors
/// No `=`, a name that no table has, or a key inside a value.
pub fn set_value(table: &mut Table, set: &str) -> Result<()> {
    let (key, text) = set.split_once('=').context("must be KEY=VALUE")?;
    let parts: Vec<&str> = key.trim().split('.').collect();
    let Some((last, parents)) = parts.split_last() else {
        bail!("must be KEY=VALUE");
    };
    let mut place = table;
    let mut parents = parents.iter();
    while let Some(part) = parents.next() {
        let next = place.entry(*part).or_insert_with(|| Value::Table(Table::new()));
        place = match next {
            Value::Table(inner) => inner,
            Value::Array(items) => {
                let name =
                    parents.next().with_context(|| format!("a name must follow `{part}`"))?;
                let named =
                    |item: &&mut Value| item.get("name").is_some_and(|n| n.as_str() == Some(name));
                match items.iter_mut().find(named) {
                    Some(Value::Table(inner)) => inner,
                    _ => bail!("`{part}` has no `{name}`"),
                }
            }
            _ => bail!("`{part}` is a value, not a section"),
        };
    }
    place.insert((*last).to_string(), value(text.trim()));
    Ok(())
}

/// TOML's reading of `text`, or the text itself.
fn value(text: &str) -> Value {
    let parsed: Option<Table> = toml::from_str(&format!("v = {text}")).ok();
    parsed
        .and_then(|mut table| table.remove("v"))
        .unwrap_or_else(|| Value::String(text.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_reach_sections_and_tasks_by_name() {
        let text = "preset = \"demo\"\n[train]\nlr = 1.0\n[[task]]\nname = \"a\"\nbatch = 2\n";
        let mut table: Table = toml::from_str(text).unwrap();
        for set in ["train.lr=2e-3", "task.a.batch = 8", "router.per_image=true", "preset=tiny"] {
            set_value(&mut table, set).unwrap();
        }
        assert_eq!(table["train"]["lr"].as_float(), Some(2e-3));
        assert_eq!(table["task"][0]["batch"].as_integer(), Some(8));
        assert_eq!(table["router"]["per_image"].as_bool(), Some(true));
        assert_eq!(table["preset"].as_str(), Some("tiny"));
        for (set, want) in
            [("lr", "KEY=VALUE"), ("task.b.batch=1", "no `b`"), ("preset.x=1", "not a section")]
        {
            let error = format!("{:#}", set_value(&mut table, set).unwrap_err());
            assert!(error.contains(want), "{error}");
        }
    }
}
