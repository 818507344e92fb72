//! `tasks`.

use crate::harness::on_both_engines;

#[test]
fn create_and_list() {
    on_both_engines(|world| {
        let created = world.run(&["tasks", "--create", "demo", "--goal", "Do\tit", "--summary", "short"]);
        insta::assert_snapshot!("tasks_create", created.stdout);
        world.advance(1500);
        world.json(&["tasks", "--create", "demo", "--goal", "Again"]);
        insta::assert_snapshot!("tasks_list_json", world.run(&["tasks", "--json"]).stdout);
        insta::assert_snapshot!("tasks_list_text", world.run(&["tasks", "--active"]).stdout);
        assert_eq!(world.scalar("select count(*) from events where type = 'task_created'"), "2");
    });
}

#[test]
fn an_empty_list_prints_nothing_or_an_empty_array() {
    on_both_engines(|world| {
        assert_eq!(world.run(&["tasks"]).stdout, "");
        assert_eq!(world.run(&["tasks", "--json"]).stdout, "[]\n");
    });
}

#[test]
fn refusals() {
    on_both_engines(|world| {
        world.run(&["tasks"]);
        insta::assert_snapshot!("tasks_no_goal", world.refused(&["tasks", "--create", "demo"]));
        insta::assert_snapshot!("tasks_positional", world.refused(&["tasks", "demo"]));
        insta::assert_snapshot!("tasks_goal_alone", world.refused(&["tasks", "--goal", "x"]));
    });
}
