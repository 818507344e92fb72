//! Consumption: at most once on the ledger, at most once on paper.

use std::collections::HashMap;

use super::{Case, Findings};

pub(super) fn check(case: &Case<'_>, findings: &mut Findings) {
    let mut printed: HashMap<String, usize> = HashMap::new();
    let rows = case.ledger.by("routed_notifications", "id");
    for item in &case.journal.printed {
        let id = item["id"].to_string();
        *printed.entry(id.clone()).or_default() += 1;
        let Some(row) = rows.get(id.as_str()) else {
            findings.add(format!("item {id} was printed as consumed but is not in the ledger"));
            continue;
        };
        let consumed = row.opt("consumed_at") == item["consumed_at"].as_str()
            && row.opt("consumed_by_session_id") == item["consumed_by_session_id"].as_str();
        findings.expect(consumed && row.opt("consumed_at").is_some(), || {
            format!(
                "item {id} was printed as consumed at {}, the ledger says {:?}",
                item["consumed_at"],
                row.opt("consumed_at")
            )
        });
        findings.expect(item["payload"] == row.json("payload_json"), || {
            format!("item {id} was printed with another payload than the ledger's")
        });
    }
    for (id, times) in &printed {
        findings.expect(*times == 1, || format!("item {id} was printed as consumed {times} times"));
    }
    let mut unseen = 0;
    for row in case.ledger.rows("routed_notifications") {
        let id = row.text("id");
        if row.opt("consumed_at").is_none() {
            findings.expect(row.opt("consumed_by_session_id").is_none(), || {
                format!("notification {id} has a consumer but was never consumed")
            });
            let waits = row.text("state") == "delivered";
            findings.expect(!(waits && case.drained), || format!("notification {id} was never consumed"));
            continue;
        }
        findings.count("consumed items", 1);
        findings.expect(row.opt("consumed_by_session_id") == row.opt("target_session_id"), || {
            format!("notification {id} was consumed by a session that it was not for")
        });
        unseen += usize::from(!printed.contains_key(id));
    }
    findings.count("items consumed by a consumer that died before printing", unseen);
    findings.expect(unseen <= case.journal.silenced, || {
        format!(
            "{unseen} items were consumed and never printed, but only {} consumers died",
            case.journal.silenced
        )
    });
}
