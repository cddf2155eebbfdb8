//! Code blocks in documentation, whose lines are no Markdown.

/// A line of documentation.
pub(super) enum Line<'l> {
    /// A line outside of code blocks, without its indentation and the spaces at its end.
    Text(&'l str),
    /// A line of a code block, or a fence.
    Code,
}

/// Finds the code blocks of a documentation that is read line by line.
#[derive(Default)]
pub(super) struct CodeBlocks {
    /// The character and the length of the fence that the open block began with.
    open: Option<(char, usize)>,
}

impl CodeBlocks {
    /// Reads the next line, which has no indentation but its own.
    ///
    /// From four spaces on, a line is code, or continues a paragraph or a list: it is no heading.
    pub(super) fn read<'l>(&mut self, line: &'l str) -> Line<'l> {
        let text = line.trim_start_matches(' ');
        if line.len() - text.len() > 3 {
            return Line::Code;
        }
        let fence = Fence::read(text);
        match (self.open, fence) {
            (None, None) => return Line::Text(text.trim_end()),
            (None, Some(fence)) => self.open = Some((fence.mark, fence.length)),
            (Some((mark, length)), Some(fence)) if fence.closes(mark, length) => self.open = None,
            (Some(_), _) => {}
        }
        Line::Code
    }

    /// Returns true if the lines that were read end within a fenced block.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }
}

/// A line that begins or ends a code block, such as "~~~text".
struct Fence<'l> {
    mark: char,
    length: usize,
    /// The text after the marks.
    info: &'l str,
}

impl<'l> Fence<'l> {
    /// `None` for a line that is no fence: one of fewer than three marks, or code within a line.
    fn read(text: &'l str) -> Option<Self> {
        let mark = text.chars().next().filter(|mark| matches!(mark, '`' | '~'))?;
        let info = text.trim_start_matches(mark);
        let length = text.len() - info.len();
        let is_fence = length >= 3 && !(mark == '`' && info.contains('`'));
        is_fence.then_some(Self { mark, length, info })
    }

    /// Returns true if a block that began with a fence of `length` marks ends here.
    fn closes(&self, mark: char, length: usize) -> bool {
        self.mark == mark && self.length >= length && self.info.trim().is_empty()
    }
}
