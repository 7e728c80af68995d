//! HTML as text that is read without it: headings, lists, tables, links and code as in Markdown.
//!
//! The tags are taken as they come, and no tree is made of them. A tree that follows HTML's rules
//! for misnested tags can be made quadratic in time and memory by a page of a few hundred kilobytes
//! (`<b 1><b 2>...<p><p>...`), and one that is deep overflows the stack where it is walked.

use html5gum::{DefaultEmitter, Token, Tokenizer};
use url::Url;

/// The deepest list whose items are still set in further.
const MAX_INDENT: usize = 8;
/// The longest address of a link that is shown, in bytes.
const MAX_LINK: usize = 2 * 1024;

/// Limits on reading a page.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Readable {
    pub(super) title: String,
    pub(super) text: String,
    /// Whether there is more than was asked for.
    pub(super) cut: bool,
}

/// The text of a page, `max` bytes at most, with links from where it is.
pub(super) fn readable(html: &str, base: &Url, max: usize) -> Readable {
    let mut emitter = DefaultEmitter::default();
    emitter.naively_switch_states(true);
    let mut page = Page {
        base,
        out: String::new(),
        title: String::new(),
        hidden: None,
        in_title: false,
        code: 0,
        lists: Vec::new(),
        link: None,
        breaks: 0,
        space: false,
        row: false,
    };
    let mut cut = false;
    for Ok(token) in Tokenizer::new_with_emitter(html, emitter) {
        match token {
            Token::StartTag(tag) => {
                let attribute = |name: &str| {
                    let value = tag.attributes.get(name.as_bytes())?;
                    Some(String::from_utf8_lossy(value).into_owned())
                };
                page.open(&String::from_utf8_lossy(&tag.name), &attribute);
            }
            Token::EndTag(tag) => page.close(&String::from_utf8_lossy(&tag.name)),
            Token::String(text) => page.text(&String::from_utf8_lossy(&text)),
            Token::Comment(_) | Token::Doctype(_) | Token::Error(_) => {}
        }
        if page.out.len() > max {
            cut = true;
            break;
        }
    }
    page.end_link();
    let mut text = page.out;
    text.truncate(text.floor_char_boundary(max));
    text.truncate(text.trim_end().len());
    Readable {
        title: page.title.split_whitespace().collect::<Vec<_>>().join(" "),
        text,
        cut,
    }
}

struct Page<'a> {
    base: &'a Url,
    out: String,
    title: String,
    /// The element that is being left out, and how often it is open.
    hidden: Option<(String, usize)>,
    in_title: bool,
    /// How many elements with text that keeps its white space are open.
    code: usize,
    /// The lists that are open, with the number of the next item.
    lists: Vec<Option<usize>>,
    /// Where the text of the open link begins, and where it leads.
    link: Option<(usize, String)>,
    /// Line ends that are due before the next text.
    breaks: usize,
    /// Whether a space is due before the next word.
    space: bool,
    /// Whether a row of a table is open.
    row: bool,
}

/// Elements whose content is not for readers.
const HIDDEN: [&str; 9] = [
    "script", "style", "template", "svg", "math", "iframe", "object", "noscript", "head",
];

impl Page<'_> {
    fn open(&mut self, name: &str, attribute: &dyn Fn(&str) -> Option<String>) {
        if let Some((hidden, depth)) = &mut self.hidden {
            if hidden == name {
                *depth += 1;
            } else if name == "title" {
                self.in_title = self.title.is_empty();
            } else if hidden == "head" && name == "body" {
                // The end of the head may be left out.
                self.hidden = None;
            }
            return;
        }
        if HIDDEN.contains(&name) {
            self.hidden = Some((name.to_owned(), 1));
            return;
        }
        match name {
            "title" => self.in_title = self.title.is_empty(),
            "br" => self.due(1),
            "hr" => {
                self.due(2);
                self.word("---");
                self.due(2);
            }
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.due(2);
                let level = usize::from(name.as_bytes()[1] - b'0');
                self.mark(&format!("{} ", "#".repeat(level)));
            }
            "ul" | "menu" => self.list(None),
            "ol" => {
                let start = attribute("start").and_then(|start| start.parse().ok());
                self.list(Some(start.unwrap_or(1)));
            }
            "li" => self.item(),
            "pre" => {
                self.due(2);
                self.mark("```\n");
                self.code += 1;
            }
            "code" | "kbd" | "samp" if self.code == 0 => self.word("`"),
            "tr" => {
                self.due(1);
                self.row = false;
            }
            "td" | "th" => {
                self.mark(if self.row { " | " } else { "| " });
                self.row = true;
            }
            "a" => {
                self.end_link();
                self.link = attribute("href")
                    .and_then(|href| self.address(&href))
                    .map(|address| (self.out.len(), address));
            }
            "img" => {
                if let Some(alt) = attribute("alt").filter(|alt| !alt.trim().is_empty()) {
                    self.text(&format!("[image: {}]", alt.trim()));
                }
            }
            "dd" => {
                self.due(1);
                self.mark("  ");
            }
            "blockquote" => {
                self.due(2);
                self.mark("> ");
            }
            _ if is_block(name) => self.due(if name == "p" { 2 } else { 1 }),
            _ => {}
        }
    }

    fn close(&mut self, name: &str) {
        if name == "title" {
            self.in_title = false;
        }
        if let Some((hidden, depth)) = &mut self.hidden {
            if hidden == name {
                *depth -= 1;
                if *depth == 0 {
                    self.hidden = None;
                }
            }
            return;
        }
        match name {
            "a" => self.end_link(),
            "pre" if self.code > 0 => {
                self.code -= 1;
                let start = if self.out.ends_with('\n') { "" } else { "\n" };
                self.out.push_str(start);
                self.out.push_str("```");
                self.due(2);
            }
            "code" | "kbd" | "samp" if self.code == 0 => {
                self.space = false;
                self.out.push('`');
            }
            "ul" | "ol" | "menu" => {
                self.lists.pop();
                self.due(if self.lists.is_empty() { 2 } else { 1 });
            }
            "tr" => {
                if self.row {
                    self.out.push_str(" |");
                }
                self.row = false;
                self.due(1);
            }
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "blockquote" | "table" => self.due(2),
            _ if is_block(name) => self.due(if name == "p" { 2 } else { 1 }),
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        if self.in_title {
            let room = MAX_LINK.saturating_sub(self.title.len());
            self.title
                .push_str(&text[..text.floor_char_boundary(room.min(text.len()))]);
            return;
        }
        if self.hidden.is_some() {
            return;
        }
        if self.code > 0 {
            self.flush();
            self.out.push_str(text);
            return;
        }
        for (at, word) in text.split(char::is_whitespace).enumerate() {
            self.space |= at > 0;
            if !word.is_empty() {
                self.flush();
                self.out.push_str(word);
            }
        }
    }

    fn word(&mut self, word: &str) {
        self.flush();
        self.out.push_str(word);
    }

    /// An element that the next text follows at once.
    fn mark(&mut self, mark: &str) {
        self.space = false;
        self.flush();
        self.out.push_str(mark);
    }

    /// Puts the due space before a text.
    fn flush(&mut self) {
        if self.breaks > 0 {
            let there = self.out.len() - self.out.trim_end_matches('\n').len();
            if !self.out.is_empty() {
                let missing = self.breaks.saturating_sub(there);
                self.out.extend(std::iter::repeat_n('\n', missing));
            }
        } else if self.space && !self.out.is_empty() && !self.out.ends_with([' ', '\n']) {
            self.out.push(' ');
        }
        self.breaks = 0;
        self.space = false;
    }

    fn due(&mut self, breaks: usize) {
        // A cell of a table stays on its line.
        if self.row {
            self.space = true;
        } else {
            self.breaks = self.breaks.max(breaks);
        }
    }

    fn list(&mut self, first: Option<usize>) {
        self.due(if self.lists.is_empty() { 2 } else { 1 });
        self.lists.push(first);
        if self.lists.len() > 1000 {
            // Nobody reads lists so deep, and they are not to take memory.
            self.lists.truncate(1000);
        }
    }

    fn item(&mut self) {
        self.due(1);
        let indent = "  ".repeat(self.lists.len().saturating_sub(1).min(MAX_INDENT));
        let mark = match self.lists.last_mut() {
            Some(Some(number)) => {
                *number = number.saturating_add(1);
                format!("{indent}{}. ", number.saturating_sub(1))
            }
            Some(None) | None => format!("{indent}- "),
        };
        self.mark(&mark);
    }

    /// Where a link leads, if it leads to another page.
    fn address(&self, href: &str) -> Option<String> {
        let href = href.trim();
        if href.is_empty() || href.starts_with('#') || href.len() > MAX_LINK {
            return None;
        }
        let url = self.base.join(href).ok()?;
        let known = matches!(url.scheme(), "http" | "https" | "mailto" | "ftp");
        let text = String::from(url);
        (known && text.len() <= MAX_LINK).then_some(text)
    }

    fn end_link(&mut self) {
        let Some((start, address)) = self.link.take() else {
            return;
        };
        let text = &self.out[start..];
        let inner = text.trim();
        if inner.is_empty() {
            return;
        }
        let from = start + (text.len() - text.trim_start().len());
        let to = from + inner.len();
        let tail = self.out.split_off(to);
        self.out.insert(from, '[');
        self.out.push_str(&format!("]({address})"));
        self.out.push_str(&tail);
    }
}

fn is_block(name: &str) -> bool {
    matches!(
        name,
        "p" | "div"
            | "section"
            | "article"
            | "header"
            | "footer"
            | "main"
            | "nav"
            | "aside"
            | "address"
            | "figure"
            | "figcaption"
            | "form"
            | "fieldset"
            | "legend"
            | "details"
            | "summary"
            | "table"
            | "caption"
            | "dl"
            | "dt"
            | "dd"
            | "option"
            | "body"
            | "html"
    )
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    fn base() -> Url {
        Url::parse("https://example.com/docs/page.html").unwrap()
    }

    fn text(html: &str) -> String {
        readable(html, &base(), 1 << 20).text
    }

    #[test]
    fn a_page_is_read_without_its_tags() {
        let html = r##"<!doctype html><html><head><title>Prices &amp;
            more</title><style>p{}</style><script>var a = "<p>no</p>";</script></head>
            <body><nav><a href="/">Home</a> <a href="#top">Top</a></nav>
            <h1>Prices</h1><p>All   in <b>euro</b>,<br>see <a href="terms.html">our
            <i>terms</i></a>.</p>
            <ul><li>apple<li>pear<ul><li>green</ul></ul>
            <ol start=3><li>three</li><li>four</li></ol>
            <table><tr><th>name<th>price</tr><tr><td>apple</td><td><p>1.20</p></td></tr></table>
            <pre>a  b
  c</pre><p>Use <code>x = 1</code>.<img src=a.png alt="A chart"></p>
            <a href="javascript:alert(1)">click</a><!-- no --></body></html>"##;
        let page = readable(html, &base(), 1 << 20);
        assert_eq!(page.title, "Prices & more");
        assert!(!page.cut);
        assert_eq!(
            page.text,
            "[Home](https://example.com/) Top\n\n# Prices\n\nAll in euro,\nsee [our \
             terms](https://example.com/docs/terms.html).\n\n- apple\n- pear\n  - green\n\n3. \
             three\n4. four\n\n| name | price |\n| apple | 1.20 |\n\n```\na  b\n  \
             c\n```\n\nUse `x = 1`.[image: A chart]\n\nclick"
        );
    }

    #[test]
    fn odd_pages_are_read_as_well() {
        for (html, expected) in [
            ("", ""),
            ("plain &lt;text&gt; &eacute;", "plain <text> é"),
            ("<p>a<p>b", "a\n\nb"),
            ("</ul></a></pre></tr>a", "a"),
            (
                "<a href='/x'>one<a href='/y'>two",
                "[one](https://example.com/x)[two](https://example.com/y)",
            ),
            ("<a href='/x'> <img> </a>b", "b"),
            ("<script>a</script>b<style>c", "b"),
            ("<head><title>t</title><body>b", "b"),
            ("<svg><svg></svg>a</svg>b", "b"),
            ("a<div>b</div>c", "a\nb\nc"),
            ("<textarea><p>x</textarea>", "<p>x"),
        ] {
            assert_eq!(text(html), expected, "{html}");
        }
        let long = readable(&"<p>word ".repeat(1000), &base(), 100);
        assert!(long.cut && long.text.len() <= 100);
    }

    /// tools/T7: what makes the trees of HTML quadratic, or overflows the stack, is read in time.
    #[test]
    fn hostile_pages_take_no_longer() {
        let bold: String = (0..60_000).map(|n| format!("<b a{n}>")).collect();
        for html in [
            "<div>".repeat(1_000_000),
            "<a href=x>".repeat(200_000),
            format!("<a href=x>{}", "<i>y</i>".repeat(200_000)),
            format!("{bold}{}", "<p>x".repeat(100_000)),
            format!("{}x", "<table><tr><td>".repeat(100_000)),
            "<ul><li>".repeat(300_000),
            "<li>".repeat(500_000),
            "<!--".repeat(500_000),
            "&#x".repeat(500_000),
            format!("<a {}>", "b=c ".repeat(200_000)),
            format!("{}x", "<pre>".repeat(300_000)),
            "<br>".repeat(500_000),
        ] {
            let start = Instant::now();
            let page = readable(&html, &base(), 10 << 20);
            let shown: String = html.chars().take(20).collect();
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "{shown}: {:?}",
                start.elapsed()
            );
            assert!(page.text.len() <= 10 << 20, "{shown}");
        }
    }

    proptest! {
        #[test]
        fn anything_is_read(
            html in "(<(/?(a href=b|p|ul|ol|li|pre|tr|td|code|title|script|h[1-6]|br|dd)>?)|[a-z &;\\n]){0,30}",
            max in 0_usize..50,
        ) {
            let page = readable(&html, &base(), max);
            prop_assert!(page.text.len() <= max);
        }
    }
}
