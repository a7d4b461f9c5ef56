//! Help, manual pages, completions.

use crate::support::Ground;

#[test]
fn every_command_has_help_a_page_and_an_example() {
    let ground = Ground::new();
    let help = ground.ask("--help").code(0).out;
    let commands = [
        "demo",
        "join",
        "run",
        "ls",
        "status",
        "is-supervisor",
        "is-up",
        "call",
        "functions",
        "usage",
        "limit",
        "revoke",
        "get",
        "set",
        "settings",
        "monitor",
        "step-down",
        "stop",
        "peer",
        "doctor",
        "completions",
        "man",
    ];
    let manual = ground.ask("man").code(0).out;
    for command in commands {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is not in the help");
        assert!(
            ground.ask(&format!("{command} --help")).code(0).out.contains("Usage: pares"),
            "{command}"
        );
        assert!(
            ground.ask(&format!("man {command}")).code(0).out.contains(".SH SYNOPSIS"),
            "{command}"
        );
        assert!(manual.contains(&command.replace('-', "\\-")), "{command} is not in the manual");
    }
    for code in ["69", "75", "77", "124", "125", "126", "128+N"] {
        assert!(help.contains(code), "{code} is not in the help");
    }
    for hidden in ["guard", "anchor", "begin", "actor"] {
        let listed = help.contains(&format!("\n  {hidden} "))
            || manual.contains(&format!("pares\\-{hidden}"));
        assert!(!listed, "{hidden} is nobody's command");
    }
    assert!(ground.ask("--version").code(0).out.starts_with("pares "));
}

#[test]
fn completions_are_for_the_usual_shells() {
    let ground = Ground::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = ground.ask(&format!("completions {shell}")).code(0).out;
        assert!(script.contains("is-supervisor"), "{shell}");
        for form in ["pares__guard", "'guard:", "-a \"guard\"", "pares,guard"] {
            assert!(!script.contains(form), "{shell}: {form}");
        }
    }
}
