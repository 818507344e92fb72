//! Delivered text is the text: whatever a message ends with, what a real Codex gets is what was sent.

use conveyor_agents::codex::State;
use conveyor_core::Error;
use conveyor_testkit::codex::Mixture;
use conveyor_testkit::{on_every_codex, wait};

use crate::stage::{LIMIT, Lab, Stage};

on_every_codex!(
    delivered_text_is_the_text,
    what_is_no_message_is_refused_and_hinders_nobody,
    a_paste_that_became_something_else_is_taken_back,
);

/// Texts at which an editor might do something of its own.
fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        // Lists of completions open at these.
        "look at @notes",
        "use $skill",
        "use $imagegen",
        "see @",
        "pay $",
        "(see @notes)",
        "a,@notes",
        "'$skill'",
        "see @\"my no",
        "first\n- second @x",
        "@notes",
        "$HOME",
        // Commands only where a text begins.
        "do it /compact",
        "fix this:\n/compact",
        " /compact",
        "\n!ls",
        "#12",
        "what about /",
        // Lists and white space.
        "- one\n- two",
        "1. one\n2. two\n3. ",
        "trailing   ",
        "ends with lines \n\n",
        "\n\n  leading",
        "a\tb\t\tc\n\td",
        "one\n\n\n\ntwo",
        // Words that a composer shows itself.
        "[Pasted Content 1200 chars]",
        "please read [Pasted Content 20 chars]",
        "the pasted content of mine",
        "[Image #1]",
        "Ask Codex to do anything",
        "› quoted\n› prompt",
        "enter insert · esc close",
        // Signs of all widths.
        "漢字 🎉 é e\u{301}\u{327}",
        "👨‍👩‍👧‍👦 🇩🇪 ❤️ 👍🏽",
        "กำ क्षि مرحبا שָׁלוֹם ᄒ\u{1161}\u{11ab}",
        "zero\u{200b}width soft\u{ad}hyphen nb\u{a0}sp ideo\u{3000}graphic",
        "ls\u{2028}ab\u{2029}cd",
        "🎉🎉🎉",
        "?! … ±",
        "box │ ─ ↑",
        // No images.
        "shot.png is broken",
        "missing.png",
        "no.png",
        "~/shot.png",
        "https://host/shot.png",
    ]
    .map(ToOwned::to_owned)
    .into();
    texts.push(["l\n"; 60].concat() + "end of sixty lines");
    texts.push((0..120).map(|number| format!("- item {number}\n")).collect());
    texts.push("漢".repeat(450));
    for length in [999, 1000, 1001] {
        texts.push("y".repeat(length));
    }
    texts.push("🎉".repeat(1100));
    texts.push("e\u{301}".repeat(700));
    texts.push("x\n".repeat(600) + "@notes");
    texts.push("many words ".repeat(100_000 / 11) + "and the end");
    texts
}

fn prepare(stage: &Stage<'_>) {
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\nIDATx\x9cc`\0\0\0\x02\0\x01\xe2!\xbc3\0\0\0\0IEND\xaeB`\x82";
    for name in ["shot.png", "my shot.png"] {
        std::fs::write(stage.project.join(name), png).expect("an image");
    }
    std::fs::write(stage.project.join("no.png"), "no image").expect("a file");
}

fn delivered_text_is_the_text(mixture: Mixture) {
    let Some(lab) = Lab::mixed(mixture) else { return };
    let mut stage = Stage::new(lab, "texts");
    prepare(&stage);
    let texts = texts();

    let mut turns = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        let sent = stage.nudge(text).map(|nudged| nudged.sent.delivery.expect("a delivery"));
        let seen = sent.ok().filter(|delivery| delivery.stage == "seen");
        let seen = seen.unwrap_or_else(|| panic!("{text:?} was not delivered: {}", stage.screen()));
        turns.push(seen.turn_id.expect("a turn"));
        stage.wait_for(State::Idle);
        let told = stage.told();
        assert_eq!(told.len(), number + 1, "one turn each: {text:?}");
        assert_eq!(told[number].trim(), text.trim());
    }
    turns.sort();
    turns.dedup();
    assert_eq!(turns.len(), texts.len(), "a turn proves one text");

    for text in &texts {
        stage.enqueue(text);
    }
    let wanted = 2 * texts.len();
    wait::until(10 * LIMIT, "all from the queue", || {
        stage.dispatch();
        stage.told().len() >= wanted
    });
    let told = stage.told();
    for (told, text) in told[texts.len()..].iter().zip(&texts) {
        assert_eq!(told.trim(), text.trim());
    }
    assert_eq!(told.len(), wanted, "nothing twice");
    wait::until(LIMIT, "the last proof", || {
        stage.dispatch();
        stage.text("select group_concat(distinct state) from commands") == "succeeded"
    });
    assert_eq!(stage.text("select group_concat(distinct stage) from deliveries"), "seen");
    assert_eq!(stage.tmux.tmux(["list-buffers"]), "", "no buffer stays behind");
    assert_eq!(stage.tmux.tmux(["show-options", "-p", "-v", "-q", "-t", "=codex-w:", "@conveyor-lock"]), "");
}

fn what_is_no_message_is_refused_and_hinders_nobody(mixture: Mixture) {
    let Some(lab) = Lab::mixed(mixture) else { return };
    let mut stage = Stage::new(lab, "no-messages");
    prepare(&stage);
    let full = stage.project.join("my shot.png").display().to_string();
    let refused = [
        "/compact".to_owned(),
        "!touch made".into(),
        "/".into(),
        "a\u{1b}[201~b".into(),
        "carriage\rreturn".into(),
        "shot.png".into(),
        "\"./my shot.png\"".into(),
        "my\\ shot.png".into(),
        format!("file://{}", full.replace(' ', "%20")),
        format!(" '{full}' \n"),
        "k".repeat(1 << 20),
    ];
    for text in &refused {
        match stage.nudge(text) {
            Err(Error::Invalid(_)) => {}
            other => panic!("{text:?} was not refused: {other:?}"),
        }
    }
    assert!(stage.screen().contains("› Ask Codex to do anything"), "the composer is as it was");
    for text in &refused {
        stage.enqueue(text);
    }
    stage.enqueue("a message after all");
    stage.dispatch_until("delivered");
    assert_eq!(stage.told(), ["a message after all"]);
    assert_eq!(
        stage.text("select group_concat(n || ' ' || state, ', ') from (select state, count(*) as n from commands group by state order by state)"),
        format!("{} failed, 1 succeeded", refused.len())
    );
    let reasons = stage.text("select group_concat(error, '|') from (select distinct error from commands where error is not null order by error)");
    for part in ["path of an image", "begins with /", "begins with !", "U+001B", "U+000D", "1048576"] {
        assert!(reasons.contains(part), "{part}: {reasons}");
    }
    assert!(!stage.project.join("made").exists());
}

fn a_paste_that_became_something_else_is_taken_back(mixture: Mixture) {
    let Some(lab) = Lab::mixed(mixture) else { return };
    let mut stage = Stage::new(lab, "taken-back");
    prepare(&stage);
    // Conveyor cannot know what the agent finds where it works.
    stage.sql("update sessions set cwd = '/nowhere' where name = 'w'");
    let error = stage.nudge("shot.png").expect_err("refused");
    assert!(matches!(&error, Error::Invalid(said) if said.to_string().contains("taken back")), "{error:?}");
    assert!(!stage.screen().contains("[Image"), "{}", stage.screen());
    assert_eq!(stage.text("select stage || ' ' || reason from deliveries"), "failed no_message");
    stage.enqueue("my\\ shot.png");
    stage.enqueue("look at @shot.png");
    assert!(stage.dispatch_until("delivered").iter().any(|said| said.starts_with("failed")));
    assert_eq!(stage.told().iter().map(|text| text.trim()).collect::<Vec<_>>(), ["look at @shot.png"]);
    let requests = lab.model.wait_for("look at @shot.png", 1, LIMIT);
    let request = requests[0].body.to_string();
    assert!(!request.contains("input_image"), "no image of a message that was refused goes with another one");
    let error = stage.text("select error from commands where state = 'failed'");
    assert!(error.contains("taken back"), "{error}");
    assert_eq!(stage.tmux.tmux(["list-buffers"]), "");
}
