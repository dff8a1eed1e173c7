use super::*;

fn options(smtp: &str) -> Options {
    Options { smtp: smtp.into(), from: "Shop <no-reply@example.org>".into(), ..Options::default() }
}

fn mailer() -> Mailer {
    Mailer::new(&options("smtp://127.0.0.1:1"), "https://app.example").unwrap().unwrap()
}

#[tokio::test]
async fn a_password_for_the_mail_server_is_sent_by_tls_only() {
    let of = |smtp: &str| Mailer::new(&options(smtp), "https://app.example");
    for private in [
        "smtps://u:hunter2@mail.example",
        "smtp://u:hunter2@mail.example?tls=required",
        "smtp://u:hunter2@127.0.0.1:2525",
        "smtp://u:hunter2@[::1]:2525",
        "smtp://relay.example",
    ] {
        assert!(of(private).unwrap().is_some(), "{private}");
    }
    for open in ["smtp://u:hunter2@mail.example", "smtp://u:hunter2@mail.example?tls=opportunistic"] {
        assert!(matches!(of(open), Err(Error::PasswordInClear)), "{open}");
    }
    for wrong in
        ["mail.example", "http://u:hunter2@mail.example?tls=required", "smtp://m.example?tls=perhaps"]
    {
        let error = of(wrong).unwrap_err();
        assert!(matches!(error, Error::Server { .. }), "{wrong}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
    assert!(of("").unwrap().is_none());
    let from = Options { from: "nobody".into(), ..options("smtp://localhost") };
    assert!(matches!(Mailer::new(&from, "https://app.example"), Err(Error::From { .. })));
    let link = Options { verify_url: "/verify?t={token}".into(), ..options("smtp://localhost") };
    let error = Mailer::new(&link, "https://app.example").unwrap_err();
    assert!(error.to_string().starts_with("mail.verify_url: "), "{error}");
}

#[tokio::test]
async fn a_mail_has_one_recipient_and_its_own_headers() {
    let mailer = mailer();
    let proof = Proof::generate(Uuid::now_v7());
    let letter = || Letter::new(Purpose::Password, "app.example", &mailer.reset, &proof);
    let message = mailer.message("ann@example.org", letter()).unwrap();
    let text = String::from_utf8(message.formatted()).unwrap();
    for line in [
        "From: Shop <no-reply@example.org>\r\n",
        "To: ann@example.org\r\n",
        "Subject: Choose a new password\r\n",
        "Auto-Submitted: auto-generated\r\n",
        "multipart/alternative",
    ] {
        assert!(text.contains(line), "{line:?} in {text}");
    }
    for address in [
        "ann@example.org\r\nBcc: eve@example.org",
        "ann@example.org\nBcc: eve@example.org",
        "ann@example.org, eve@example.org",
        "Ann <ann@example.org>",
        "ann@example.org>\r\nRCPT TO:<eve@example.org",
        "\"a\r\nb\"@example.org",
        "",
    ] {
        assert!(matches!(mailer.message(address, letter()), Err(Unsent::Address)), "{address:?}");
    }
}

#[tokio::test]
async fn what_an_error_says_has_no_address() {
    let proof = Proof::generate(Uuid::now_v7());
    let error = mailer().send("ann@example.org", Purpose::Email, &proof).await.unwrap_err();
    assert_eq!(error.to_string(), "the mail server can't be reached");
    assert!(!error.is_final());
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let smtp = format!("smtp://{}", silent.local_addr().unwrap());
    let options = Options { timeout_ms: 100, ..options(&smtp) };
    let mailer = Mailer::new(&options, "https://app.example").unwrap().unwrap();
    let proof = Proof::generate(Uuid::now_v7());
    let sent = mailer.send("ann@example.org", Purpose::Email, &proof);
    let error = tokio::time::timeout(Duration::from_secs(30), sent).await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "the mail server didn't answer in time");
    assert!(!error.is_final());
}
