"""What language models hold in their hands: ten tools over the methods of `PlanStore`.

``tools``      the table of tools: name, description, arguments, what is called
``arguments``  what each tool takes, as models
``schemas``    the same as JSON Schema, in few words: a model reads all of it before its first call
``briefs``     what is told of plans and tasks: the short form first
``fitting``    how an answer is kept short enough, and says what it left out

`planstore.mcp_server` serves them by the Model Context Protocol.
"""
