"""Checks within seconds whether a host answers."""

import threading
import urllib.error
import urllib.request

TIMEOUT = 5.0
"""Seconds."""


class DataUnavailable(ValueError):
    """The data are not on this machine and cannot be downloaded; the message has the remedy.

    >>> issubclass(DataUnavailable, ValueError)
    True
    """


def check(name: str, url: str, remedy: str) -> None:
    """Requests the header of a URL, through the proxy if one is set.

    The request runs in a thread, so that the timeout also covers a name server that does not
    answer.

    Args:
      name: the data set's name.
      url: URL of one of its files.
      remedy: what to do without a network.

    Raises:
      DataUnavailable: there is no answer within `TIMEOUT` seconds.
    """
    outcome = [f"no answer in {TIMEOUT:g} seconds"]

    def ask() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")
            urllib.request.urlopen(request, timeout=TIMEOUT).close()
            outcome[0] = ""
        except urllib.error.HTTPError:
            outcome[0] = ""  # the host answers; the download reports the error
        except Exception as error:
            outcome[0] = str(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    if outcome[0]:
        raise DataUnavailable(
            f"{name} is not on this machine, and {url} cannot be reached ({outcome[0]}). {remedy}"
        )
