"""The gateway: SendGrid's `mail/send`, and Postroom's own calls, over HTTP. `postroom gateway` runs it.

An app in any language sends through the SDK that it has, by its base URL. Whoever comes needs a key (`keys`).
"""
