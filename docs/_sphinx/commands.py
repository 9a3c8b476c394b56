"""{commands} MODULE NAME: a section for each verb of a command line, from the program's own options and help."""

from collections.abc import Iterator
from importlib import import_module

import typer
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def paragraphs(text: str) -> list[nodes.Node]:
    """Words between empty lines; what stands alone on a line in a help text is one sentence."""
    return [nodes.paragraph("", " ".join(part.split())) for part in text.split("\n\n") if part.strip()]


def options(command, context) -> nodes.definition_list:
    """Every argument and option, as --help lists them."""
    listed = nodes.definition_list(classes=["options"])
    for param in command.get_params(context):
        record = param.get_help_record(context)
        if record is None or "--help" in param.opts:
            continue
        names = (param.metavar or param.name.upper()) if param.param_type_name == "argument" else record[0]
        term = nodes.term("", "", nodes.literal("", names))
        listed += nodes.definition_list_item("", term, nodes.definition("", nodes.paragraph("", record[1])))
    return listed


def examples(command) -> list[nodes.Node]:
    """The epilog of --help: a title, and lines to type."""
    if not command.epilog:
        return []
    title, *lines = [line.strip() for line in command.epilog.strip().splitlines()]
    typed = "\n".join(line for line in lines if line)
    return [nodes.paragraph("", title), nodes.literal_block(typed, typed, language="bash")]


class Commands(SphinxDirective):
    """The module holds `app`, a Typer program; NAME is what is typed to run it."""

    required_arguments = 2
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        module, name = self.arguments
        group = typer.main.get_command(import_module(module).app)
        with group.make_context(name, [], resilient_parsing=True) as context:
            said = paragraphs(group.help or "")
            return [*said, *self.sections(group, context)]

    def sections(self, group, context) -> Iterator[nodes.section]:
        for verb in group.list_commands(context):
            command = group.get_command(context, verb)
            with command.make_context(verb, [], parent=context, resilient_parsing=True) as inner:
                yield self.section(command, inner)
                if hasattr(command, "list_commands"):
                    yield from self.sections(command, inner)

    def section(self, command, context) -> nodes.section:
        name = context.command_path
        made = nodes.section(ids=[nodes.make_id(name)], names=[name.lower()])
        made += nodes.title("", name.removeprefix("minimistral "))
        made += paragraphs(command.help or "")
        usage = command.get_usage(context).removeprefix("Usage: ")
        made += nodes.literal_block(usage, usage, language="text")
        listed = options(command, context)
        made += [listed] if listed.children else []
        made += examples(command)
        self.state.document.note_explicit_target(made)
        return made


def setup(app: Sphinx) -> dict:
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
