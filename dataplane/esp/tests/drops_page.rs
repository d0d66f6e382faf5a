//! `docs/drops.md` is made from the one table of drop reasons; `ESPALIER_WRITE_DOCS=1` writes it anew.

use std::fmt::Write as _;
use std::path::Path;

use esp::DropReason;

fn page() -> String {
    let mut page = String::from(
        "# Drop reasons\n\n\
         Every packet that is neither sent nor punted is counted for exactly one of these, in the order a packet meets\n\
         them. `espctl drops` shows the counts, `espctl drops --format xfrm_stat` sums them under Linux's names.\n\n\
         | name | what happened | severity | RFC | `/proc/net/xfrm_stat` |\n|---|---|---|---|---|\n",
    );
    for reason in DropReason::ALL {
        let (name, severity) = (reason.name(), reason.severity().name());
        let xfrm = reason.xfrm_stat().unwrap_or("");
        let _ =
            writeln!(page, "| `{name}` | {} | {severity} | {} | {xfrm} |", reason.sentence(), reason.rfc());
    }
    page
}

#[test]
fn the_page_says_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/drops.md");
    if std::env::var_os("ESPALIER_WRITE_DOCS").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert_eq!(written, page(), "run `ESPALIER_WRITE_DOCS=1 cargo test -p esp --test drops_page`");
}
