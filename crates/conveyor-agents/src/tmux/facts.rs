//! What tmux tells about panes and clients, one line each.

/// What tmux knows about a pane at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "they are tmux's own flags")]
pub struct PaneFacts {
    /// Its id, `%12`: never used again by the same server.
    pub id: String,
    /// The process that tmux started in it.
    pub pid: u32,
    /// The process has ended.
    pub dead: bool,
    /// In copy mode or another mode of tmux: keys do not reach the program.
    pub in_mode: bool,
    /// Input was switched off.
    pub input_off: bool,
    /// What is typed goes to all panes of the window.
    pub synchronized: bool,
    /// The program shows its alternate screen, which has no history.
    pub alternate_screen: bool,
    /// Column of the cursor, from 0.
    pub cursor_x: usize,
    /// Row of the cursor in the visible screen, from 0.
    pub cursor_y: usize,
    /// The cursor is shown.
    pub cursor_visible: bool,
    /// Columns.
    pub width: usize,
    /// Rows of the visible screen.
    pub height: usize,
    /// Lines above the visible screen.
    pub history_size: usize,
    /// How many panes its window has.
    pub panes_in_window: usize,
    /// The program asked for bracketed paste; `None` where this tmux does not tell.
    pub bracketed_paste: Option<bool>,
    /// The pane's terminal device.
    pub tty: String,
    /// Its window's id, `@3`.
    pub window_id: String,
    /// The process of its tmux server.
    pub server_pid: u32,
    /// The name of the program in the foreground, as tmux sees it.
    pub current_command: String,
}

/// Separated by spaces, which only the last one may contain. (Newer versions of tmux print control
/// characters as escapes, so that neither TABs nor line ends separate reliably.)
pub(super) const PANE_FORMAT: &str = "#{pane_id} #{pane_pid} #{pane_dead} #{pane_in_mode} #{pane_input_off} \
     #{pane_synchronized} #{alternate_on} #{cursor_x} #{cursor_y} #{cursor_flag} #{pane_width} #{pane_height} \
     #{history_size} #{window_panes} #{bracket_paste_flag} #{pane_tty} #{window_id} #{pid} #{pane_current_command}";

impl PaneFacts {
    /// Reads a line of [`PANE_FORMAT`]; `None` when it is none.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.splitn(19, ' ').collect();
        let [
            id,
            pid,
            dead,
            in_mode,
            input_off,
            synchronized,
            alternate,
            x,
            y,
            cursor,
            width,
            height,
            history,
            panes,
            paste,
            tty,
            window,
            server,
            command,
        ] = fields[..]
        else {
            return None;
        };
        let flag = |text: &str| !matches!(text, "" | "0");
        Some(Self {
            id: id.strip_prefix('%').map(|_| id.to_owned())?,
            pid: pid.parse().ok()?,
            dead: flag(dead),
            // A counter: modes can lie upon each other.
            in_mode: flag(in_mode),
            input_off: flag(input_off),
            synchronized: flag(synchronized),
            alternate_screen: flag(alternate),
            cursor_x: x.parse().ok()?,
            cursor_y: y.parse().ok()?,
            cursor_visible: flag(cursor),
            width: width.parse().ok()?,
            height: height.parse().ok()?,
            history_size: history.parse().ok()?,
            panes_in_window: panes.parse().ok()?,
            bracketed_paste: (!paste.is_empty()).then(|| flag(paste)),
            tty: tty.to_owned(),
            window_id: window.to_owned(),
            server_pid: server.parse().ok()?,
            current_command: command.to_owned(),
        })
    }
}

/// A terminal in which a person looks at a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFacts {
    /// The window that it shows, `@3`.
    pub window_id: String,
    /// When a key was last pressed in it, in whole seconds since 1970.
    pub activity: i64,
    /// It cannot type.
    pub read_only: bool,
    /// The person's terminal device.
    pub tty: String,
}

pub(super) const CLIENT_FORMAT: &str =
    "client #{window_id} #{client_activity} #{client_readonly} #{client_tty}";

impl ClientFacts {
    /// Reads a line of [`CLIENT_FORMAT`]; `None` when it is none.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.strip_prefix("client ")?.splitn(4, ' ').collect();
        let [window, activity, read_only, tty] = fields[..] else { return None };
        Some(Self {
            window_id: window.to_owned(),
            activity: activity.parse().ok()?,
            read_only: read_only == "1",
            tty: tty.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pane_line_may_lack_what_an_older_tmux_does_not_know() {
        let pane = PaneFacts::parse("%0 71 0 2 0 0 1 3 48 1 200 50 12 1  /dev/pts/0 @0 70 my program")
            .expect("a pane");
        assert_eq!((pane.id.as_str(), pane.pid, pane.in_mode, pane.dead), ("%0", 71, true, false));
        assert_eq!((pane.cursor_x, pane.cursor_y, pane.alternate_screen), (3, 48, true));
        assert_eq!((pane.bracketed_paste, pane.current_command.as_str()), (None, "my program"));
        let newer =
            PaneFacts::parse("%0 71 0 0 0 0 0 3 48 0 200 50 12 1 1 /dev/pts/0 @0 70 sh").expect("a pane");
        assert_eq!((newer.bracketed_paste, newer.cursor_visible), (Some(true), false));
    }

    #[test]
    fn what_is_no_pane_is_none() {
        for line in ["", "%0", "                 ", "0 71 0 0 0 0 0 3 48 0 200 50 12 1 1 tty @0 70 sh"] {
            assert_eq!(PaneFacts::parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn a_client_line_is_read() {
        let client = ClientFacts::parse("client @2 1700000000 1 /dev/pts/4").expect("a client");
        assert_eq!(
            (client.activity, client.read_only, client.tty.as_str()),
            (1_700_000_000, true, "/dev/pts/4")
        );
        assert_eq!(ClientFacts::parse("."), None);
    }
}
