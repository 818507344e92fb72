//! `man-pages`: manual pages.

use crate::app::App;
use crate::commands::{Group, Subcommand};
use crate::failure::Failure;

/// Arguments of `man-pages`.
#[derive(clap::Args)]
pub struct ManPages {
    /// The directory to write the pages into; made when missing
    #[arg(value_name = "DIRECTORY")]
    directory: String,
}

impl Subcommand for ManPages {
    const NAME: &'static str = "man-pages";
    const GROUP: Group = Group::Admin;
    const ABOUT: &'static str = "Write manual pages, one per command";
    const HELP: &'static str = "\
Example:
  conveyor man-pages ~/.local/share/man/man1
  man conveyor-dispatch";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let directory = app.absolute(&self.directory)?;
        let failed = |error: std::io::Error| {
            Failure::usage(format!("cannot write manual pages into {}: {error}", directory.display()))
        };
        std::fs::create_dir_all(&directory).map_err(failed)?;
        let mut tree = crate::clap_tree();
        tree.build();
        let mut written = 0;
        for command in std::iter::once(&tree).chain(tree.get_subcommands()) {
            let name = if command.get_name() == tree.get_name() {
                "conveyor".to_owned()
            } else {
                format!("conveyor-{}", command.get_name())
            };
            let page = clap_mangen::Man::new(command.clone().bin_name(name.replace('-', " "))).title(&name);
            let mut text = Vec::new();
            page.render(&mut text).map_err(failed)?;
            std::fs::write(directory.join(format!("{name}.1")), text).map_err(failed)?;
            written += 1;
        }
        app.out().line(&format!("Wrote {written} manual pages into {}.", directory.display()))
    }
}
