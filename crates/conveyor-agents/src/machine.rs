//! Which machine this is.

use std::fs;

use conveyor_model::Machine;

/// The machine that we run on. `host_id` stands for what the system says it is.
#[must_use]
pub fn here(host_id: Option<String>) -> Machine {
    let host_id = host_id.or_else(|| line("/etc/machine-id")).or_else(|| {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        (!name.is_empty()).then_some(name)
    });
    // A sandbox shows a table of processes that ends with it.
    let pid_namespace = if crate::processes::is_walled_in() { None } else { namespace() };
    Machine { host_id, boot_id: line("/proc/sys/kernel/random/boot_id"), pid_namespace }
}

fn line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// `pid:[4026531836]`; `None` where the system does not tell.
fn namespace() -> Option<String> {
    fs::read_link("/proc/self/ns/pid").ok().map(|link| link.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use conveyor_model::Whereabouts;

    use super::*;

    #[test]
    fn this_machine_is_itself() {
        assert_eq!(here(None).whereabouts(&here(None)), Whereabouts::Here);
        assert_eq!(here(Some("named".into())).host_id.as_deref(), Some("named"));
    }
}
