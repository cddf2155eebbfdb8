//! The matrix as a page of its own: no scripts, nothing from elsewhere.

use std::fmt::Write;

use super::{Matrix, Row};
use crate::{Entry, Outcome};

const HEAD: &str = include_str!("head.html");

pub(super) fn page(matrix: &Matrix) -> String {
    let mut page = HEAD.to_owned();
    page += &header(matrix);
    let mut group = String::new();
    for row in matrix.rows() {
        let (of, _) = row.first.case.split_once('.').unwrap_or_default();
        if of != group {
            group = of.to_owned();
            page += &format!(
                "<tr><th class=group colspan={}>{}</th></tr>\n",
                row.cells.len() + 1,
                escaped(of)
            );
        }
        page += &case(&row);
    }
    page += "</table>\n";
    page + &remarks(matrix) + "</html>\n"
}

fn header(matrix: &Matrix) -> String {
    let mut header = "<table>\n<tr><th>case</th>".to_owned();
    for report in matrix.reports() {
        let (class, word) = if report.is_conformant() {
            ("passed", "conformant")
        } else {
            ("failed", "not conformant")
        };
        let name = escaped(&report.backend);
        let _ = write!(header, "<th>{name}<br><small class={class}>{word}</small></th>");
    }
    header + "</tr>\n"
}

fn case(Row { first, cells }: &Row<'_>) -> String {
    let mark = if first.minimum { " <b title=\"of the minimum set\">●</b>" } else { "" };
    let (name, about) = (escaped(&first.case), escaped(&first.about));
    let mut row = format!("<tr><td><code>{name}</code>{mark}<br><small>{about}</small></td>");
    row.extend(cells.iter().map(|cell| cell.map_or_else(|| "<td></td>".to_owned(), outcome)));
    row + "</tr>\n"
}

fn outcome(entry: &Entry) -> String {
    let (class, word) = match &entry.outcome {
        Outcome::Passed => ("passed", format!("✓ <small>{} ms</small>", entry.took_ms)),
        Outcome::Failed(_) => ("failed", "failed".to_owned()),
        Outcome::NotRun(missing) => ("missing", escaped(missing)),
    };
    format!("<td class={class}>{word}</td>")
}

/// What failed and what was noted, backend by backend.
fn remarks(matrix: &Matrix) -> String {
    let mut remarks = String::new();
    for report in matrix.reports() {
        for entry in &report.entries {
            let failure = match &entry.outcome {
                Outcome::Failed(sentence) => {
                    Some(format!("<b class=failed>{}</b>", escaped(sentence)))
                }
                _ => None,
            };
            for remark in failure.into_iter().chain(entry.notes.iter().map(|note| escaped(note))) {
                let (backend, case) = (escaped(&report.backend), escaped(&entry.case));
                let _ = writeln!(remarks, "<li>{backend} <code>{case}</code>: {remark}</li>");
            }
        }
    }
    format!("<ul>\n{remarks}</ul>\n")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
