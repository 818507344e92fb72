//! `manager-recipes`: the catalogue of supervision recipes.

use conveyor_core::contract::recipes::{self, RECIPES, RecipeSummary};
use conveyor_model::shell::quote;
use serde::Serialize;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonFlag, Subcommand};
use crate::failure::Failure;

/// Arguments of `manager-recipes`.
#[derive(clap::Args)]
pub struct ManagerRecipes {
    /// List all recipes
    #[arg(long)]
    list: bool,
    /// Show one, with the command that applies it
    #[arg(long, value_name = "NAME")]
    show: Option<String>,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    _db: DbPath,
}

#[derive(Serialize)]
struct Listed {
    recipes: Vec<RecipeSummary>,
}

#[derive(Serialize)]
struct Shown {
    recipe: RecipeSummary,
}

impl Subcommand for ManagerRecipes {
    const NAME: &'static str = "manager-recipes";
    const GROUP: Group = Group::Contract;
    const ABOUT: &'static str = "List supervision recipes, or show one";
    const HELP: &'static str = "\
A recipe is a named contract: mode, permissions, tools, closing steps, and what counts as proof. A conversation about
supervision should settle on one, or on custom. Show the user the summary and have it confirmed before the command
below it is run. No ledger is opened, whatever --path says.

Example:
  conveyor manager-recipes --list
  conveyor manager-recipes --show 'ralph loop'";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        match (self.list, &self.show) {
            (true, None) => list(app, self.json.json),
            (false, Some(name)) => show(app, recipes::named(name)?.summary(), self.json.json),
            _ => Err(Failure::usage("choose one of --list and --show NAME")),
        }
    }
}

fn list(app: &mut App<'_>, json: bool) -> Result<(), Failure> {
    let recipes: Vec<RecipeSummary> = RECIPES.iter().map(recipes::Recipe::summary).collect();
    let mut out = app.out();
    if json {
        return out.json(&Listed { recipes });
    }
    let mut rows = out.rows(&["RECIPE", "MODE", "DESCRIPTION"]);
    for recipe in &recipes {
        let template = recipe.loop_template.map(|template| format!(" loop={template}")).unwrap_or_default();
        rows.push(&[recipe.name, &format!("mode={}{template}", recipe.mode), recipe.description])?;
    }
    rows.end()
}

fn show(app: &mut App<'_>, recipe: RecipeSummary, json: bool) -> Result<(), Failure> {
    let mut out = app.out();
    if json {
        return out.json(&Shown { recipe });
    }
    let words: Vec<String> = recipe.manager_config_command.iter().map(|word| quote(word)).collect();
    out.verbatim(&format!(
        "{}\n\nmanager config command:\n  {}\n",
        recipe.locked_summary_template,
        words.join(" ")
    ))?;
    match recipe.loop_template {
        Some(template) => out.verbatim(&format!("\nloop template: {template}\n")),
        None => Ok(()),
    }
}
