"""Whether a host answers, found out in seconds."""

import threading
import urllib.error
import urllib.request

TIMEOUT = 5.0


class DataUnavailable(ValueError):
    """The data are not here and cannot be downloaded; the message says what to do."""


def check(name: str, url: str, remedy: str) -> None:
    """Asks for the header of an address, through the proxy if one is set.

    A thread asks, so that a name server that does not answer costs no more than a connection.

    Args:
      name: of the data set.
      url: of one of its files.
      remedy: what to do without a network.

    Raises:
      DataUnavailable: there is no answer within `TIMEOUT` seconds.
    """
    outcome = [f"no answer in {TIMEOUT:g} seconds"]

    def ask():
        try:
            request = urllib.request.Request(url, method="HEAD")
            urllib.request.urlopen(request, timeout=TIMEOUT).close()
            outcome[0] = ""
        except urllib.error.HTTPError:
            outcome[0] = ""  # the host is there; what it says is the download's concern
        except Exception as error:
            outcome[0] = str(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    if outcome[0]:
        raise DataUnavailable(f"{name} is not here, nor is {url} ({outcome[0]}). {remedy}")
