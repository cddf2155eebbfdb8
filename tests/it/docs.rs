//! The documentation of the generated items, as rustdoc writes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::ui::{dependencies, folder, library};

/// Services whose methods have documentation with sections, code and the text of a file.
const SERVICE: &str = r#"
use polywire::{Fault, service};

/// A bank.
#[service]
pub trait Bank {
    /// Withdraws an amount.
    ///
    /// ```text
    /// # Errors
    /// ```
    ///
    /// # Errors
    ///
    /// If the account is empty.
    ///
    /// # Examples
    ///
    /// Twice a day.
    #[method(oneway)]
    async fn withdraw(&self, amount: u64);

    /// The loans.
    fn loans(&self) -> impl Loans;
}

/// Loans.
#[service]
pub trait Loans {
    /// Grants an amount.
    async fn grant(&self, amount: u64) -> Result<(), Fault>;
}

/**
    Accounts.
*/
#[service]
pub trait Accounts {
    /// Opens an account.
    ///
    ///     # Errors
    ///
    /// ````text
    /// ```
    /// # Errors
    /// ````
    ///
    /// Ends the opening.
    #[method(timeout = "5s")]
    async fn open(&self) -> Result<(), Fault>;

    /**
        Closes an account.
    */
    async fn close(&self) -> Result<(), Fault>;

    #[doc = include_str!("audit.md")]
    #[method(timeout = "7s")]
    async fn audit(&self) -> Result<(), Fault>;

    /// Lists the accounts.
    ///
    /// ```text
    #[doc = include_str!("list.txt")]
    /// ```
    ///
    /// Ends the list.
    #[cfg_attr(all(), doc(alias = "index"), doc = "Sorted by name.")]
    #[method(timeout = "9s")]
    async fn list(&self) -> Result<(), Fault>;
}
"#;

/// Files that the documentation includes, with their texts.
const INCLUDED: [(&str, &str); 2] =
    [("audit.md", "Audits all accounts.\n\n# Examples\n\nMonthly.\n"), ("list.txt", "ada\n")];

#[test]
fn generated_text_joins_the_sections_of_the_user() {
    assert_order(
        "BankClient",
        &[
            "Withdraws an amount.",
            "Resolves when the call was sent.",
            "If the account is empty.",
            "CallBuilder::send",
            "Twice a day.",
        ],
    );
}

#[test]
fn headings_in_code_begin_no_section() {
    let texts = ["Opens an account.", "Ends the opening.", "Waits at most 5s", "Client::call"];
    assert_order("AccountsClient", &texts);
}

#[test]
fn indented_comment_stays_text_beside_generated_lines() {
    assert!(page("struct.AccountsClient").contains("<p>Closes an account.</p>"));
    assert!(page("trait.Accounts").contains("<p>Accounts.</p>"));
}

#[test]
fn generated_text_stands_before_an_included_file() {
    let texts = ["Waits at most 7s", "Audits all accounts.", "Monthly.", "Client::call"];
    assert_order("AccountsClient", &texts);
}

#[test]
fn included_code_and_conditional_text_stay_in_their_places() {
    let texts =
        ["Lists the accounts.", "ada", "Ends the list.", "Sorted by name.", "Waits at most 9s"];
    assert_order("AccountsClient", &texts);
}

#[test]
fn servers_of_nested_services_document_their_panics() {
    assert!(page("struct.BankServer").contains("If two methods have the same name"));
    assert!(!page("struct.LoansServer").contains("If two methods have the same name"));
}

/// Fails unless the page of a generated struct has the texts in this order.
fn assert_order(name: &str, texts: &[&str]) {
    let page = page(&format!("struct.{name}"));
    let mut rest = page.as_str();
    for text in texts {
        let found = rest.split_once(text);
        rest = found.unwrap_or_else(|| panic!("{text:?} is missing, or is too early")).1;
    }
}

/// Returns the page of an item, such as `trait.Bank`.
fn page(item: &str) -> String {
    static PAGES: LazyLock<PathBuf> = LazyLock::new(pages);
    fs::read_to_string(PAGES.join(format!("bank/{item}.html"))).unwrap()
}

/// Runs rustdoc for the service, and returns the folder of the pages.
fn pages() -> PathBuf {
    let folder = folder().join("docs");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("bank.rs");
    fs::write(&file, SERVICE).unwrap();
    for (name, text) in INCLUDED {
        fs::write(folder.join(name), text).unwrap();
    }
    let mut command = Command::new(Path::new(env!("CARGO")).with_file_name("rustdoc"));
    command.arg(&file).args(["--edition", "2024", "--crate-name", "bank"]);
    command.arg("--out-dir").arg(&folder);
    command.arg("--extern").arg(format!("polywire={}", library().display()));
    command.arg("-L").arg(format!("dependency={}", dependencies().display()));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder
}
