use super::super::Screen;
use super::*;

/// A screen whose composer shows these rows, the cursor at their end; `above` is what precedes it.
fn look(above: &str, rows: &[&str]) -> (Screen, Cursor) {
    let composer = rows.join("\n  ");
    let capture = format!("{above}\u{1b}[1m›\u{1b}[0m {composer}\n\n  mock default · ~/work\n");
    let y = above.lines().count() + rows.len() - 1;
    let x = 2 + rows.last().map_or(0, |row| row.chars().count());
    (Screen::parse(&capture), Cursor { x, y, visible: true })
}

fn standing_of(rows: &[&str], text: &str) -> Standing {
    let (screen, cursor) = look("• done\n\n", rows);
    standing(&screen, cursor, text)
}

#[test]
fn the_whole_text_stands_there_however_it_is_broken() {
    assert_eq!(standing_of(&["run the tests"], "run the tests"), Standing::Whole);
    assert_eq!(standing_of(&["run the", "tests"], "run the tests "), Standing::Whole);
    assert_eq!(standing_of(&["first", "", "", "second part"], "first\n\n\nsecond\tpart"), Standing::Whole);
    assert_eq!(standing_of(&["› quoted", "› prompt"], "› quoted\n› prompt"), Standing::Whole);
    assert_eq!(standing_of(&["!!!"], "!!!"), Standing::Whole);
    assert_eq!(standing_of(&["🎉🎉"], "🎉🎉"), Standing::Whole);
    assert_eq!(standing_of(&["a x"], "a \u{3164}x"), Standing::Whole, "a filler that is not shown");
}

#[test]
fn a_part_of_it_is_not_the_text() {
    for rows in [&["run the"], &["the tests"], &["un the test"]] {
        assert_eq!(standing_of(rows, "run the tests"), Standing::Changed, "{rows:?}");
    }
    assert_eq!(standing_of(&[""], "run the tests"), Standing::Other);
}

#[test]
fn the_end_of_it_is_enough_where_the_composer_says_that_there_is_more() {
    let (screen, cursor) = look("", &["the end\u{1b}[2m          ↑\u{1b}[0m", "of it"]);
    assert_eq!(standing(&screen, cursor, "a long text: the end of it"), Standing::Whole);
    assert_eq!(standing(&screen, cursor, "another end of it all"), Standing::Other);
    assert_eq!(standing_of(&["the end ↑", "of it"], "a text: the end of it"), Standing::Changed);
}

#[test]
fn a_placeholder_counts_with_exactly_the_number_of_characters() {
    let text = "ä".repeat(1200);
    assert_eq!(standing_of(&["[Pasted Content 1200 chars]"], &text), Standing::Whole);
    for other in ["[Pasted Content 1199 chars]", "[Pasted Content 2400 chars]"] {
        assert_eq!(standing_of(&[other], &text), Standing::Changed, "{other}");
    }
    for beside in [
        "x [Pasted Content 1200 chars]",
        "[Pasted Content 1200 chars] x",
        "[Pasted Content 5 chars][Pasted Content 1200 chars]",
    ] {
        assert_eq!(standing_of(&[beside], &text), Standing::Other, "{beside}");
    }
    let words = "what is [Pasted Content 1200 chars] for?";
    assert_eq!(standing_of(&[words], words), Standing::Whole, "the words themselves");
    assert_eq!(standing_of(&[words], "hello"), Standing::Other);
    assert_eq!(standing_of(&["some pasted content of mine"], "hello"), Standing::Other);
}

#[test]
fn what_was_made_of_it_is_ours_and_what_stands_beside_it_is_not() {
    assert_eq!(standing_of(&["[Image #1]"], "shot.png"), Standing::Changed);
    assert_eq!(standing_of(&["[Image #1] shot.png"], "shot.png"), Standing::Other);
    assert_eq!(standing_of(&["mine run the tests"], "run the tests"), Standing::Other);
    assert_eq!(standing_of(&["run the tests mine"], "run the tests"), Standing::Other);
    let (screen, mut cursor) = look("", &["run the tests", "mine"]);
    cursor.y = 0;
    assert_eq!(standing(&screen, cursor, "run the tests"), Standing::Other, "behind the cursor");
}

#[test]
fn an_open_list_of_completions_is_told_from_words_about_one() {
    let list = "  notes\n\n  enter/tab insert · esc close · ↑/↓ select · ←/→ filter\n\n";
    let (screen, cursor) = look(list, &["look at @notes"]);
    assert_eq!(standing(&screen, cursor, "look at @notes"), Standing::Completing);
    for words in
        ["• enter insert · esc close\n\n", "  enter insert · esc close\n\n\n", "  see @notes · ok\n\n"]
    {
        let (screen, cursor) = look(words, &["look at @notes"]);
        assert_eq!(standing(&screen, cursor, "look at @notes"), Standing::Whole, "{words:?}");
    }
}

#[test]
fn what_was_left_over_on_the_screen_is_not_typed() {
    let (screen, cursor) = look("", &["lsabcd\u{1b}[2mde\u{1b}[0m"]);
    assert_eq!(standing(&screen, cursor, "ls\u{2028}ab\u{2029}cd"), Standing::Whole);
}

#[test]
fn without_a_composer_nothing_stands_there() {
    let screen = Screen::parse("$ run the tests");
    assert_eq!(standing(&screen, Cursor { x: 15, y: 0, visible: true }, "run the tests"), Standing::Other);
    let (screen, cursor) = look("", &["run the tests"]);
    assert_eq!(standing(&screen, Cursor { visible: false, ..cursor }, "run the tests"), Standing::Other);
    let shell = Screen::parse("\u{1b}[1m!\u{1b}[0m ls\n\n  Shell mode\n");
    assert_eq!(standing(&shell, Cursor { x: 4, y: 0, visible: true }, "!ls"), Standing::Other);
}

#[test]
fn a_composer_that_fills_the_screen_is_read_to_its_end() {
    let rows = ["  l"; 30].join("\n");
    let capture = format!(
        "• done\n\n\n\u{1b}[1m›\u{1b}[0m\u{1b}[39m\u{1b}[49m l      \u{1b}[2m↑\n\u{1b}[0m\u{1b}[39m\u{1b}[49m{rows}\n  end of \
         sixty lines\n\n"
    );
    let screen = Screen::parse(&capture);
    let y = capture.lines().count() - 2;
    let text = ["l\n"; 60].concat() + "end of sixty lines";
    assert_eq!(standing(&screen, Cursor { x: 20, y, visible: true }, &text), Standing::Whole);
    assert_eq!(
        standing(&screen, Cursor { x: 20, y, visible: true }, "l\nl\nend of sixty lines"),
        Standing::Other
    );

    // Without the alternate screen nothing points to what is above.
    let rows = ["  l"; 8].join("\n");
    let full = Screen::parse(&format!("\n\n\u{1b}[1m›\u{1b}[0m l\n{rows}\n  end of sixty lines\n\n"));
    let cursor = Cursor { x: 20, y: 11, visible: true };
    assert_eq!(standing(&full, cursor, &text), Standing::Whole);
    let higher = Screen::parse(&format!("\n\n\n\n\u{1b}[1m›\u{1b}[0m l\n{rows}\n  end of sixty lines\n\n"));
    assert_eq!(standing(&higher, Cursor { y: 13, ..cursor }, &text), Standing::Changed);
}
