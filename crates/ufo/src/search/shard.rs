//! Which part of the slices one of several machines judges.

/// Part `index`, from 0, of `count`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shard {
    pub(super) index: usize,
    pub(super) count: usize,
}

/// Reads `i/n`, or `auto`.
pub(super) fn shard(text: &str) -> Result<Shard, String> {
    let text = match text {
        "auto" => from_environment(|name| std::env::var(name).ok())?,
        text => text.to_string(),
    };
    let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    match parts {
        Some((index, count)) if index < count => Ok(Shard { index, count }),
        _ => Err(format!("`{text}`: must be i/n with i from 0 to n - 1, such as 0/4")),
    }
}

/// Part and parts as the job's scheduler names them.
fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let known = [
        ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT"),
        ("JOB_COMPLETION_INDEX", "JOB_COMPLETIONS"),
        ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ];
    let found = known.iter().find_map(|(i, n)| Some(format!("{}/{}", variable(i)?, variable(n)?)));
    let names: Vec<String> = known.iter().map(|(i, n)| format!("{i} and {n}")).collect();
    found.ok_or_else(|| format!("auto: the environment must have {}", names.join(", or ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_typed_or_the_environments() {
        assert_eq!(shard("1/4"), Ok(Shard { index: 1, count: 4 }));
        for wrong in ["4/4", "1", "-1/2", "a/b", "0/0"] {
            assert!(shard(wrong).unwrap_err().contains("i/n"), "{wrong}");
        }
        let slurm = |name: &str| match name {
            "SLURM_ARRAY_TASK_ID" => Some("2".to_string()),
            "SLURM_ARRAY_TASK_COUNT" => Some("8".to_string()),
            _ => None,
        };
        assert_eq!(from_environment(slurm), Ok("2/8".to_string()));
        assert!(from_environment(|_| None).unwrap_err().contains("OMPI_COMM_WORLD_RANK"));
    }
}
