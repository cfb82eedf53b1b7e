"""The asynchronous classes; `hector_client.sync` is generated from them. What both do stands once, in `_operations`,
`_following` and `_state`."""
