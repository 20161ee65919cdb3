"""The channels, one file each; `adapters.notify.contract` says what such a file holds."""
