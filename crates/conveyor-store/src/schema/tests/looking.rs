//! Looking at a ledger leaves it as it is.

use std::sync::Arc;

use super::*;
use crate::{Access, Db, Location, OpenOptions, workers};

fn look(path: &Path) -> Result<Db, StoreError> {
    let options = OpenOptions {
        clock: Arc::new(clock()),
        ids: Arc::new(ids()),
        machine: conveyor_model::Machine::default(),
        server_password: None,
        password_file: None,
    };
    Db::open(&Location::File(path.to_owned()), Access::Look, options)
}

#[test]
fn what_is_not_there_is_not_made() {
    let place = place();
    let missing = place.path.with_file_name("below").join("workerctl.db");
    for path in [&place.path, &missing] {
        assert!(look(path).is_err_and(|error| matches!(error, StoreError::Open { .. })));
    }
    assert_eq!(std::fs::read_dir(place.path.parent().unwrap()).unwrap().count(), 0);
}

#[test]
fn an_old_file_is_read_but_not_upgraded() {
    let place = old_files::file(4);
    let before = std::fs::read(&place.path).unwrap();
    let mut db = look(&place.path).unwrap();
    assert!(db.read(|tx| workers::latest_status(tx, "nobody")).unwrap().is_none());
    assert!(db.write(|tx| tx.execute("delete from statuses", &[])).is_err(), "looking only");
    drop(db);
    assert_eq!(std::fs::read(&place.path).unwrap(), before);
}
