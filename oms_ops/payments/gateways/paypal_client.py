"""The way to PayPal: its settings, its SDK, and what each failure of a request means for us."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from oms_ops.errors import NotFound
from oms_ops.payments.gateways.interface import NotNow, Uncertain

#: Seconds before its end at which a token is renewed, so that none ends on its way.
TOKEN_MARGIN = 60
#: PayPal's words for "the same PayPal-Request-Id is known, and I shall not say more": of two such
#: requests at once it may refuse the second while it still works on the first.
UNDECIDED = ("DUPLICATE_REQUEST_ID", "PAYPAL_REQUEST_ID_PREVIOUSLY_USED")
BUSY = "PREVIOUS_REQUEST_IN_PROGRESS"


class PayPalSettings(BaseSettings):
    """What the environment (``OMS_PAYPAL_...``) or the files in ``OMS_SECRETS_DIR`` say of PayPal.

    A file is named as the variable in small letters (``oms_paypal_client_secret``) and holds the
    value alone; the environment wins.
    """

    model_config = SettingsConfigDict(
        env_prefix="OMS_PAYPAL_", extra="ignore", hide_input_in_errors=True
    )

    client_id: str = Field(default="", repr=False)
    client_secret: str = Field(default="", repr=False)
    #: PayPal's id of our webhook; part of what it signs, so it is kept as the others are.
    webhook_id: str = Field(default="", repr=False)
    environment: Literal["sandbox", "production"] = "sandbox"
    #: Another server in PayPal's place, for tests.
    base_url: str = ""
    #: To connect, and again between any two parts of the answer.
    timeout_seconds: float = Field(default=20, gt=0)

    @model_validator(mode="after")
    def _production_is_paypal(self) -> PayPalSettings:
        if self.base_url and self.environment == "production":
            raise ValueError("OMS_PAYPAL_BASE_URL is for tests; production is PayPal's own server")
        return self


def read_settings() -> PayPalSettings:
    """Read the settings.

    Raises:
        NotFound: a credential is missing.
    """
    folder = os.environ.get("OMS_SECRETS_DIR") or None
    found = PayPalSettings(_secrets_dir=folder)  # type: ignore[call-arg]
    for name in ("client_id", "client_secret"):
        if not getattr(found, name):
            raise NotFound(
                f"PayPal is not set up: OMS_PAYPAL_{name.upper()} is neither in the environment"
                f" nor, as oms_paypal_{name}, in the folder OMS_SECRETS_DIR."
            )
    return found


class Refused(Exception):
    """PayPal will not do it; ``code`` is its issue code, ``message`` its sentence."""

    def __init__(self, status: int, code: str, message: str) -> None:
        """Keep what PayPal said; never the body, which may repeat what was sent."""
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message


class PayPalClient:
    """PayPal's SDK, asked one request at a time and never by the SDK on its own a second time."""

    def __init__(self, settings: PayPalSettings) -> None:
        """Keep the settings; nothing is sent yet.

        Raises:
            NotFound: the SDK is not installed.
        """
        self._settings = settings
        self._sdk = self._connected()

    def ask(self, request: Callable[[Any], Any]) -> dict[str, Any]:
        """Send ``request`` and return the JSON of the answer, empty where there is none.

        The SDK's own objects of the answer are not used: they leave out what they do not know.

        Raises:
            Uncertain: no answer, or none that can be understood.
            NotNow: PayPal did not take the request up (rate limit, credentials).
            Refused: it did and said no.
        """
        from paypalserversdk.exceptions.api_exception import ApiException
        from requests.exceptions import RequestException

        # Their texts stay out of ours and of the trace: they may quote the request.
        try:
            answer = request(self._sdk)
            document = json.loads(answer.text) if answer.text else {}
        except ApiException as error:
            raise self._meaning(error.response_code, error.response.text) from None
        except RequestException as error:
            raise Uncertain(f"PayPal gave no answer ({type(error).__name__}).") from None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Uncertain(f"PayPal's answer is unreadable ({type(error).__name__}).") from None
        if not isinstance(document, dict):
            raise Uncertain("PayPal's answer is unreadable.")
        return document

    def _meaning(self, status: int, text: str) -> Exception:
        code, message = _issue(text)
        if status in (401, 403):
            # A token that was withdrawn lives on in the client, for up to nine hours.
            self._sdk = self._connected()
            return NotNow(f"PayPal does not accept our credentials ({status} {code}).")
        if status == 429:
            return NotNow("PayPal takes no more requests for now.")
        if status in (408, 409) or not 400 <= status < 500 or code == BUSY:
            return Uncertain(f"PayPal answered {status} {code}.")
        return Refused(status, code, message)

    def _connected(self) -> Any:
        try:
            from paypalserversdk.configuration import Configuration, Environment, Server
            from paypalserversdk.http.auth.o_auth_2 import ClientCredentialsAuthCredentials
            from paypalserversdk.paypal_serversdk_client import PaypalServersdkClient
        except ImportError:
            raise NotFound(
                "PayPal's library is not installed: install order-platform[paypal]."
            ) from None
        settings = self._settings

        class Place(Configuration):  # type: ignore[misc]
            """The SDK's configuration, which knows PayPal's two servers and no other."""

            def get_base_uri(self, server: Any = Server.DEFAULT) -> str:
                """Return where requests go."""
                return settings.base_url.rstrip("/") or str(super().get_base_uri(server))

        return PaypalServersdkClient(
            config=Place(
                environment=Environment[settings.environment.upper()],
                timeout=settings.timeout_seconds,
                # One layer retries: the worker, which knows what was asked under which key.
                max_retries=0,
                retry_statuses=[],
                # None is the SDK's logger that writes nothing: no body and no header reaches a log.
                logging_configuration=None,
                client_credentials_auth_credentials=ClientCredentialsAuthCredentials(
                    settings.client_id,
                    settings.client_secret,
                    o_auth_token_provider=_new_token,
                    o_auth_clock_skew=TOKEN_MARGIN,
                ),
            )
        )


def _new_token(_: Any, manager: Any) -> Any:
    """Return a new token.

    The SDK asks for it before it sends the request, so whatever fails here, nothing was done; left
    alone, the SDK would hide the reason.
    """
    from paypalserversdk.exceptions.api_exception import ApiException
    from requests.exceptions import RequestException

    try:
        token = manager.fetch_token()
    except ApiException as error:
        raise NotNow(f"PayPal gives no token ({error.response_code}).") from None
    except (RequestException, ValueError, TypeError, AttributeError) as error:
        raise NotNow(f"PayPal gives no token ({type(error).__name__}).") from None
    if not getattr(token, "access_token", None):
        raise NotNow("PayPal gives no token.")
    return token


def _issue(text: str) -> tuple[str, str]:
    """Return the code and the sentence of an error's body."""
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if not isinstance(document, Mapping):
        return "UNKNOWN", "PayPal gave no reason."
    details = document.get("details")
    first = details[0] if isinstance(details, list) and details else {}
    if not isinstance(first, Mapping):
        first = {}
    code = first.get("issue") or document.get("name") or document.get("error") or "UNKNOWN"
    message = first.get("description") or document.get("message") or "PayPal gave no reason."
    return str(code)[:100], str(message)[:300]
