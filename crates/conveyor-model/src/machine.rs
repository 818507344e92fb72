//! Which machine a pid, a pane or a socket means something on.

/// What a pid, a pane or a socket is relative to. A part that is not known is no evidence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The machine, across its restarts.
    pub host_id: Option<String>,
    /// Its run since it was started last.
    pub boot_id: Option<String>,
    /// The table of processes that we are in: a container has its own.
    pub pid_namespace: Option<String>,
}

/// What became of the surroundings in which something was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// They are ours.
    Here,
    /// The machine was started anew since: its processes are gone.
    Rebooted,
    /// Another machine, or another table of processes: nothing can be told from here.
    Elsewhere,
}

impl Machine {
    /// Compares what was recorded with where we are. What was not recorded means here.
    #[must_use]
    pub fn whereabouts(&self, recorded: &Self) -> Whereabouts {
        let differs = |ours: &Option<String>, theirs: &Option<String>| matches!((ours, theirs), (Some(ours), Some(theirs)) if ours != theirs);
        if differs(&self.host_id, &recorded.host_id) {
            Whereabouts::Elsewhere
        } else if differs(&self.boot_id, &recorded.boot_id) {
            Whereabouts::Rebooted
        } else if differs(&self.pid_namespace, &recorded.pid_namespace) {
            Whereabouts::Elsewhere
        } else {
            Whereabouts::Here
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(host: &str, boot: &str, namespace: &str) -> Machine {
        let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Machine { host_id: known(host), boot_id: known(boot), pid_namespace: known(namespace) }
    }

    #[test]
    fn a_record_means_something_where_it_was_made() {
        let here = machine("h", "b", "n");
        for (recorded, found) in [
            (machine("h", "b", "n"), Whereabouts::Here),
            (machine("", "", ""), Whereabouts::Here),
            (machine("h", "", ""), Whereabouts::Here),
            (machine("h", "other", "n"), Whereabouts::Rebooted),
            (machine("h", "other", "m"), Whereabouts::Rebooted),
            (machine("h", "b", "m"), Whereabouts::Elsewhere),
            (machine("g", "b", "n"), Whereabouts::Elsewhere),
            (machine("g", "other", "m"), Whereabouts::Elsewhere),
        ] {
            assert_eq!(here.whereabouts(&recorded), found, "{recorded:?}");
            assert_eq!(Machine::default().whereabouts(&recorded), Whereabouts::Here);
        }
    }
}
