from mcjax import spelling


def test_names_that_are_no_more_than_asked_for_are_all_listed():
    assert spelling.listed(["a", "b"], 2) == "a, b"
    assert spelling.listed(["a", "b", "c", "d"], 2) == "a, b and 2 more"
