"""Source code: mirrors of repositories, and work trees made from them."""
