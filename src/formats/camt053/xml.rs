//! The XML below a camt.053: bounded, without document types and entities, handed over in pieces.
//!
//! Only what stands directly in a `Stmt` becomes a tree, one at a time, so that memory follows the largest entry and
//! not the file.

use quick_xml::NsReader;
use quick_xml::events::{BytesDecl, BytesRef, BytesStart, Event};
use quick_xml::name::ResolveResult;

use super::CamtError;

/// What every version's namespace begins with; two digits follow.
const NAMESPACE: &str = "urn:iso:std:iso:20022:tech:xsd:camt.053.001.";
const VERSIONS: std::ops::RangeInclusive<u8> = 2..=8;
/// Statements are eight deep; what is deeper wants to harm.
const DEPTH_MAX: usize = 40;
/// A batch of tens of thousands of payments in one entry.
const NODES_MAX: usize = 1_000_000;
/// What some programs write before UTF-8 text.
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// A part of a statement.
#[derive(Debug)]
pub(super) enum Piece {
    /// Something that stands directly in it.
    Child(Node),
    /// All of it was there.
    StatementEnd {
        /// Where it ends.
        line: usize,
    },
}

/// An element with everything in it.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// Without its prefix; empty when it is of another namespace.
    pub(super) name: String,
    /// The line of the file it begins in, counted from 1.
    pub(super) line: usize,
    /// Its attribute `Ccy`.
    pub(super) currency: Option<String>,
    text: String,
    children: Vec<Self>,
}

impl Node {
    /// The first child of that name.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The children of that name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// What stands at the end of this path of first children.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, name| node.child(name))
    }

    /// Its own text, without the white space around it.
    pub(super) fn text(&self) -> &str {
        self.text.trim()
    }

    /// The text at the end of a path, if there is some.
    pub(super) fn text_at(&self, path: &[&str]) -> Option<&str> {
        self.at(path)
            .map(Self::text)
            .filter(|text| !text.is_empty())
    }

    /// Every text in it that has no element beside it, in the order of the file.
    pub(super) fn leaf_texts(&self) -> Vec<&str> {
        if self.children.is_empty() {
            return vec![self.text()];
        }
        self.children.iter().flat_map(Self::leaf_texts).collect()
    }
}

/// Hands over the pieces of every statement in the file.
pub(super) fn walk(
    bytes: &[u8],
    mut take: impl FnMut(Piece) -> Result<(), CamtError>,
) -> Result<(), CamtError> {
    let text = str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        CamtError::NotUtf8 {
            line: count_lines(before).saturating_add(1),
        }
    })?;
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let mut walker = Walker::new(text);
    while let Some(piece) = walker.next_piece()? {
        take(piece)?;
    }
    Ok(())
}

struct Walker<'a> {
    text: &'a str,
    reader: NsReader<&'a [u8]>,
    namespace: Option<String>,
    /// Where the last event began, and the line that is.
    offset: usize,
    line: usize,
    depth: usize,
    is_over: bool,
}

/// How deep `Document`, `BkToCstmrStmt` and `Stmt` stand.
const IN_MESSAGE: usize = 2;
const IN_STATEMENT: usize = 3;

impl<'a> Walker<'a> {
    fn new(text: &'a str) -> Self {
        let mut reader = NsReader::from_str(text);
        reader.config_mut().expand_empty_elements = true;
        reader.config_mut().check_comments = true;
        Self {
            text,
            reader,
            namespace: None,
            offset: 0,
            line: 1,
            depth: 0,
            is_over: false,
        }
    }

    /// The next piece, or nothing when the document ended as it should.
    fn next_piece(&mut self) -> Result<Option<Piece>, CamtError> {
        loop {
            match self.next_event()? {
                Event::Eof if self.is_over => return Ok(None),
                Event::Eof => return Err(self.syntax("it ends before its last element does")),
                Event::Decl(declaration) => self.check_encoding(&declaration)?,
                Event::Start(start) => {
                    if let Some(piece) = self.enter(&start)? {
                        return Ok(Some(piece));
                    }
                }
                Event::End(_) => {
                    self.depth = self.depth.saturating_sub(1);
                    self.is_over = self.depth == 0;
                    if self.depth == IN_MESSAGE {
                        return Ok(Some(Piece::StatementEnd { line: self.line }));
                    }
                }
                Event::Text(text) => self.expect_white(&text)?,
                Event::Comment(_) => {}
                Event::CData(_) | Event::GeneralRef(_) => {
                    return Err(self.syntax("there is text between elements"));
                }
                Event::Empty(_) | Event::PI(_) | Event::DocType(_) => {
                    return Err(self.forbidden("this markup"));
                }
            }
        }
    }

    /// Goes into one of the outer elements, over what they carry beside statements, and around what a statement
    /// carries.
    fn enter(&mut self, start: &BytesStart<'_>) -> Result<Option<Piece>, CamtError> {
        if self.is_over {
            return Err(self.syntax("there is a second document in it"));
        }
        let name = self.name_of(start)?;
        match self.depth {
            0 if name == "Document" => {}
            0 => return Err(CamtError::NotCamt(format!("it is a {name}"))),
            1 if name == "BkToCstmrStmt" => {}
            1 => return Err(CamtError::NotCamt(format!("its message is a {name}"))),
            IN_MESSAGE if name == "Stmt" => {}
            IN_STATEMENT => return Ok(Some(Piece::Child(self.subtree(start, name)?))),
            _ => {
                self.subtree(start, name)?;
                return Ok(None);
            }
        }
        self.depth = self.depth.saturating_add(1);
        Ok(None)
    }

    /// Reads an element to its end.
    fn subtree(&mut self, start: &BytesStart<'_>, name: String) -> Result<Node, CamtError> {
        let mut open = vec![self.node(start, name)?];
        let mut nodes: usize = 1;
        loop {
            match self.next_event()? {
                Event::Start(start) => {
                    nodes = nodes.saturating_add(1);
                    if open.len() >= DEPTH_MAX || nodes > NODES_MAX {
                        return Err(self.forbidden("an element this deep or this large"));
                    }
                    let name = self.name_of(&start)?;
                    open.push(self.node(&start, name)?);
                }
                Event::End(_) => {
                    let Some(done) = open.pop() else {
                        return Err(self.syntax("an element ends that did not begin"));
                    };
                    match open.last_mut() {
                        Some(parent) => parent.children.push(done),
                        None => return Ok(done),
                    }
                }
                Event::Text(text) => {
                    let text = text
                        .xml_content()
                        .map_err(|error| self.syntax(error.to_string()))?;
                    self.add_text(&mut open, &text)?;
                }
                Event::CData(text) => {
                    let text = text
                        .xml_content()
                        .map_err(|error| self.syntax(error.to_string()))?;
                    self.add_text(&mut open, &text)?;
                }
                Event::GeneralRef(reference) => {
                    let char = self.resolve(&reference)?;
                    self.add_text(&mut open, char.encode_utf8(&mut [0; 4]))?;
                }
                Event::Comment(_) => {}
                Event::Eof => return Err(self.syntax("it ends before its last element does")),
                Event::Empty(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {
                    return Err(self.forbidden("this markup"));
                }
            }
        }
    }

    /// The next event; what no statement needs is refused here, before anybody looks into it.
    fn next_event(&mut self) -> Result<Event<'a>, CamtError> {
        let offset = usize::try_from(self.reader.buffer_position()).unwrap_or(usize::MAX);
        let passed = self.text.as_bytes().get(self.offset..offset);
        self.line = self
            .line
            .saturating_add(count_lines(passed.unwrap_or_default()));
        self.offset = offset;
        let event = self
            .reader
            .read_event()
            .map_err(|error| self.syntax(error.to_string()))?;
        match event {
            Event::DocType(_) => Err(self.forbidden("a document type")),
            Event::PI(_) => Err(self.forbidden("a processing instruction")),
            event @ (Event::Start(_)
            | Event::End(_)
            | Event::Empty(_)
            | Event::Text(_)
            | Event::CData(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::GeneralRef(_)
            | Event::Eof) => Ok(event),
        }
    }

    /// The name of an element of the statement's own namespace, which the outermost one decides.
    fn name_of(&mut self, start: &BytesStart<'_>) -> Result<String, CamtError> {
        let (resolved, local) = self.reader.resolver().resolve_element(start.name());
        let namespace = match resolved {
            ResolveResult::Bound(namespace) => String::from_utf8_lossy(namespace.0).into_owned(),
            ResolveResult::Unbound | ResolveResult::Unknown(_) => String::new(),
        };
        let name = String::from_utf8_lossy(local.as_ref()).into_owned();
        match &self.namespace {
            Some(ours) if *ours == namespace => Ok(name),
            Some(_) => Ok(String::new()),
            None if is_read(&namespace) => {
                self.namespace = Some(namespace);
                Ok(name)
            }
            None => Err(CamtError::NotCamt(format!(
                "its namespace is {namespace:?}"
            ))),
        }
    }

    fn node(&self, start: &BytesStart<'_>, name: String) -> Result<Node, CamtError> {
        let currency = start
            .try_get_attribute("Ccy")
            .map_err(|error| self.syntax(error.to_string()))?
            .map(|attribute| String::from_utf8_lossy(&attribute.value).into_owned());
        Ok(Node {
            name,
            line: self.line,
            currency,
            text: String::new(),
            children: Vec::new(),
        })
    }

    fn add_text(&self, open: &mut [Node], text: &str) -> Result<(), CamtError> {
        // Postgres has no NUL, XML 1.0 none of the others; people have no use for any.
        if text
            .chars()
            .any(|char| char.is_control() && !char.is_whitespace())
        {
            return Err(self.syntax("there is a control character in it"));
        }
        if let Some(node) = open.last_mut() {
            node.text.push_str(text);
        }
        Ok(())
    }

    fn resolve(&self, reference: &BytesRef<'_>) -> Result<char, CamtError> {
        let numbered = reference.resolve_char_ref();
        if let Some(char) = numbered.map_err(|error| self.syntax(error.to_string()))? {
            return Ok(char);
        }
        match &**reference {
            b"amp" => Ok('&'),
            b"lt" => Ok('<'),
            b"gt" => Ok('>'),
            b"quot" => Ok('"'),
            b"apos" => Ok('\''),
            _ => Err(self.forbidden("an entity")),
        }
    }

    fn check_encoding(&self, declaration: &BytesDecl<'_>) -> Result<(), CamtError> {
        let Some(encoding) = declaration.encoding() else {
            return Ok(());
        };
        let encoding = encoding.map_err(|error| self.syntax(error.to_string()))?;
        if encoding.eq_ignore_ascii_case(b"utf-8") || encoding.eq_ignore_ascii_case(b"us-ascii") {
            return Ok(());
        }
        let named = String::from_utf8_lossy(&encoding).into_owned();
        Err(self.syntax(format!("it says that it is {named}, and UTF-8 is read")))
    }

    fn expect_white(&self, text: &[u8]) -> Result<(), CamtError> {
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        Err(self.syntax("there is text between elements"))
    }

    fn syntax(&self, reason: impl Into<String>) -> CamtError {
        CamtError::Syntax {
            line: self.line,
            reason: reason.into(),
        }
    }

    fn forbidden(&self, what: &'static str) -> CamtError {
        CamtError::Forbidden {
            line: self.line,
            what,
        }
    }
}

fn is_read(namespace: &str) -> bool {
    namespace
        .strip_prefix(NAMESPACE)
        .filter(|version| version.len() == 2)
        .and_then(|version| version.parse().ok())
        .is_some_and(|version: u8| VERSIONS.contains(&version))
}

fn count_lines(bytes: &[u8]) -> usize {
    let lines = bytes.split(|byte| *byte == b'\n').count();
    lines.saturating_sub(1)
}
