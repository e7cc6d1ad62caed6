//! The mail: text and HTML beside each other, a chart inside the HTML, an id that is the notification's.

use lettre::Message;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, MultiPart, SinglePart};
use sha2::{Digest, Sha256};

use super::super::{chart, template, words};
use crate::model::Notification;

/// Longest subject, in characters.
const SUBJECT_CHARS_MAX: usize = 200;
const CHART_CID: &str = "chart";

/// What a mail is made of.
pub(super) struct Mail<'a> {
    pub(super) from: &'a Mailbox,
    pub(super) to: &'a [Mailbox],
    pub(super) subject: Option<&'a str>,
    pub(super) text: Option<&'a str>,
}

impl Mail<'_> {
    /// As it goes over the wire.
    pub(super) fn write(&self, notification: &Notification) -> Result<Vec<u8>, lettre::error::Error> {
        let domain = self.from.email.domain();
        // The same notification is the same mail to every server that has seen it; mails of a group stand together.
        let id = format!("<{}@{domain}>", name(&notification.id));
        let thread = format!("<group.{}@{domain}>", name(&notification.group_key));
        let subject = template::render_or_log(self.subject, notification);
        let subject = subject.unwrap_or_else(|| words::title(notification));
        let mut mail = Message::builder()
            .from(self.from.clone())
            .subject(words::one_line(&subject, SUBJECT_CHARS_MAX))
            .date(notification.decided_at.into())
            .message_id(Some(id))
            .references(thread)
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ));
        for to in self.to {
            mail = mail.to(to.clone());
        }
        let text = template::render_or_log(self.text, notification);
        let picture = notification.alerts.iter().find_map(|alert| chart::png(&alert.chart, alert.threshold));
        let html = html(notification, text.as_deref(), picture.is_some());
        let text = SinglePart::plain(text.unwrap_or_else(|| words::text(notification)));
        let html = SinglePart::html(html);
        let body = MultiPart::alternative().singlepart(text);
        let png = ContentType::parse("image/png").ok();
        let body = match picture.zip(png) {
            None => body.singlepart(html),
            Some((picture, png)) => {
                let picture = Attachment::new_inline(CHART_CID.to_owned()).body(picture, png);
                body.multipart(MultiPart::related().singlepart(html).singlepart(picture))
            }
        };
        Ok(mail.multipart(body)?.formatted())
    }
}

/// `id` as the left side of a message id: itself when that is plain enough, its hash otherwise.
fn name(id: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if !id.is_empty() && id.len() <= 64 && id.chars().all(plain) {
        return id.to_owned();
    }
    Sha256::digest(id).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;").replace('\n', "<br>")
}

fn html(notification: &Notification, custom: Option<&str>, chart: bool) -> String {
    let mut out = format!(
        "<!doctype html><html><body style=\"font-family:sans-serif;color:#222\">\
         <h2 style=\"border-left:6px solid {};padding-left:10px\">{}</h2>",
        words::colour(notification),
        escape(&words::title(notification))
    );
    if chart {
        let what = notification.alerts.first().map(|alert| alert.rule_name.as_str()).unwrap_or_default();
        out.push_str(&format!("<p><img src=\"cid:{CHART_CID}\" alt=\"Values of {}\"></p>", escape(what)));
    }
    match custom {
        Some(text) => out.push_str(&format!("<p>{}</p>", escape(text))),
        None => words::items(notification).iter().for_each(|item| out.push_str(&item_html(item))),
    }
    if let Some(rest) = words::rest(notification) {
        out.push_str(&format!("<p>{rest}</p>"));
    }
    out + "</body></html>"
}

fn item_html(item: &words::Item) -> String {
    let mut out = format!("<h3>{}</h3><table>", escape(&item.headline));
    for (name, text) in &item.facts {
        out.push_str(&format!(
            "<tr><td style=\"color:#666;padding-right:12px\">{}</td><td>{}</td></tr>",
            escape(name),
            escape(text)
        ));
    }
    let links: Vec<String> =
        item.links.iter().map(|(name, url)| format!("<a href=\"{}\">{}</a>", escape(url), escape(name))).collect();
    out + &format!("</table><p>{}</p>", links.join(" · "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn headers_are_ours_whatever_is_told(rule in "[ -~\\r\\n\\t\u{e9}<>:]{0,80}", id in "[ -~\\r\\n]{0,40}") {
            let mut notification = words::sample(true);
            notification.alerts[0].rule_name = rule;
            (notification.group_key, notification.id) = (id.clone(), id);
            let mail = write(&notification);
            let known = ["From", "Subject", "Date", "Message-ID", "References", "Auto-Submitted", "To", "MIME-Version",
                "Content-Type"];
            for line in mail.split("\r\n\r\n").next().expect("headers").split("\r\n") {
                let name = line.split(':').next().expect("a name");
                prop_assert!(line.starts_with(' ') || known.contains(&name), "{}", line);
                prop_assert!(!line.contains('\r') && !line.contains('\n'), "{}", line);
            }
        }

        #[test]
        fn html_has_no_marks_but_ours(text in "[ -~\u{e9}]{0,60}") {
            let mut notification = words::sample(true);
            notification.alerts[0].rule_name = text.clone();
            notification.alerts[0].annotations.insert(text.clone(), text.clone());
            notification.alerts[0].labels.insert(text.clone(), text);
            let marks = |html: &str| html.matches('<').count();
            let mut plain = notification.clone();
            let told = &mut plain.alerts[0];
            let letter = |text: &String| if text.trim().is_empty() { text.clone() } else { "x".to_owned() };
            told.rule_name = letter(&told.rule_name);
            told.labels = told.labels.iter().map(|(n, v)| (letter(n), letter(v))).collect();
            prop_assert_eq!(marks(&html(&notification, None, true)), marks(&html(&plain, None, true)));
        }
    }

    fn write(notification: &Notification) -> String {
        let (from, to) = ("a@example.com".parse().expect("from"), ["b@example.com".parse().expect("to")]);
        let mail = Mail { from: &from, to: &to, subject: None, text: None };
        String::from_utf8(mail.write(notification).expect("a mail")).expect("ASCII")
    }

    #[test]
    fn no_text_of_others_becomes_a_header() {
        let mut notification = words::sample(true);
        notification.alerts[0].rule_name = "x\r\nBcc: evil@example.com\r\n\r\nbody".to_owned();
        notification.id = "id>\r\nBcc: evil@example.com".to_owned();
        let mail = write(&notification);
        let headers = mail.split("\r\n\r\n").next().expect("headers");
        assert!(!headers.lines().any(|line| line.starts_with("Bcc")), "{headers}");
    }

    #[test]
    fn the_same_notification_has_the_same_id() {
        let id = |mail: &str| mail.lines().find(|line| line.starts_with("Message-ID")).map(str::to_owned);
        let first = id(&write(&words::sample(true)));
        assert_eq!(first.as_deref(), Some("Message-ID: <sample@example.com>"));
        assert_eq!(id(&write(&words::sample(true))), first);
    }

    #[test]
    fn markup_of_others_is_text() {
        let mut notification = words::sample(true);
        notification.alerts[0].labels.insert("x".to_owned(), "<script>alert(1)</script>".to_owned());
        let html = html(&notification, Some("<b>\"&"), false);
        assert!(!html.contains("<script") && html.contains("&lt;b&gt;&quot;&amp;"), "{html}");
    }
}
