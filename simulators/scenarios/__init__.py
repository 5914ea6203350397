from simulators.story import Story

STORIES: dict[str, Story] = {}
